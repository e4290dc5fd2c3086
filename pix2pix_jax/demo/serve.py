"""Serves a trained model's page until Ctrl-C."""

import os
import sys
import webbrowser

from etils import epath

from pix2pix_jax.demo import brushes, examples, server, site
from pix2pix_jax.demo.translation import Drawings
from pix2pix_jax.errors import UserError
from pix2pix_jax.inference.trained_model import TrainedModel
from pix2pix_jax.runtime import console


def serve(
    model: TrainedModel,
    workdir: epath.PathLike,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    palette: str = "auto",
    open_browser: bool = True,
) -> None:
    """Serves the page to draw on; returns only by an exception, such as KeyboardInterrupt.

    Args:
      model: the trained model.
      workdir: the workdir of its run, whose pictures are examples where the data are not at hand.
      host: name or address to listen on.
      port: the port; where it is in use, the next free one.
      palette: of label maps, see `brushes.choose`.
      open_browser: whether to open the page where there is a screen.

    Raises:
      UserError: the model's inputs cannot be drawn, the palette does not fit, or there is no such host or free port.
    """
    with make_server(model, workdir, host=host, port=port, palette=palette) as page:
        if port and page.server_port != port:
            console.log(f"note: port {port} is in use; taking {page.server_port}")
        if host not in server.LOOPBACK:
            console.log(f"note: --host={host}: whoever reaches this machine and knows the address can use the page")
        console.log(f"draw on {page.url}\n(Ctrl-C ends it)")
        sys.stdout.flush()
        if open_browser and _has_screen():
            webbrowser.open(page.url)
        page.serve_forever()


def make_server(
    model: TrainedModel, workdir: epath.PathLike, *, host: str, port: int, palette: str = "auto"
) -> server.Server:
    """Makes the server of a model's page, bound and ready; see `serve`."""
    if not 0 <= port < 65536:
        raise UserError(f"--port={port}: must be from 0 to 65535; 0 is any free one")
    drawings = Drawings(model)
    pictures = examples.find(model.config, workdir)
    chosen = brushes.choose(model.config, pictures, palette)
    settings = site.settings(
        model.config,
        chosen,
        title=site.title(workdir, model.config),
        num_examples=len(pictures),
        has_dropout=drawings.has_dropout(),
        runs_in={"place": "server"},
    )
    files = site.files(settings, pictures)
    return server.Server(files, drawings.translate, num_bytes=drawings.num_bytes, host=host, port=port)


def _has_screen() -> bool:
    """Returns whether a browser would open a window; one in the terminal would be in the way."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
