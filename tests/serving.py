"""A server in a thread of its own."""

import contextlib
import threading


@contextlib.contextmanager
def serving(server):
    """Serves until the `with` block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
