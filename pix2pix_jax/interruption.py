"""What ends a run before its last step with its state saved."""

import signal
from collections.abc import Iterator

from pix2pix_jax.data.pipeline import Batch
from pix2pix_jax.errors import UserError


class Interrupted(Exception):
    """The user stopped the run, and its state is saved."""


class StopRequest:
    """What may end a run early with its state saved: the first SIGINT or SIGTERM (a second one stops at once), or data
    that cannot be read; `requested` tells of the former, `error` is the latter's."""

    def __init__(self):
        self.error: UserError | None = None
        self.requested = False
        self._previous = {}

    def until(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yields batches until the run is to stop."""
        try:
            for batch in batches:
                yield batch
                if self.requested:
                    return
        except UserError as error:
            self.error = error

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[number] = signal.signal(number, self._request)
            except ValueError:  # not in the main thread, as when a notebook or a server trains
                continue
        return self

    def __exit__(self, *exception) -> None:
        self._restore()

    def _request(self, number, frame) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
