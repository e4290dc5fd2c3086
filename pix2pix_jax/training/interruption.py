"""Ends a run before its last step, with its state saved."""

import contextlib
import signal
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

from pix2pix_jax.data.pipeline import Batch
from pix2pix_jax.errors import UserError


class Interrupted(Exception):
    """Tells that the run was stopped `by` SIGINT (Ctrl-C) or SIGTERM (preemption), with its state saved."""

    def __init__(self, message: str, by: signal.Signals):
        super().__init__(message)
        self.by = by


class StopRequest:
    """Ends a run early, with its state saved, at the first SIGINT or SIGTERM, or when data cannot be read.

    A second signal stops the process at once. With several processes, a signal to any of them stops all after the same
    step, which JAX's preemption service agrees on. That service listens to SIGTERM itself, so SIGINT is passed on as
    SIGTERM. One of several processes whose data cannot be read stops without saving, as the others do not know of it.

    Attributes:
      by: the signal that ended the run; None if none did.
      error: the error of the data that ended it; None if none did.
    """

    def __init__(self):
        self.error: UserError | None = None
        self.by: signal.Signals | None = None
        self._handlers = contextlib.ExitStack()  # restores the previous ones
        self._alone = jax.process_count() == 1

    def until(self, batches: Iterator[Batch], *, start: int) -> Iterator[Batch]:
        """Yields the batches of steps start + 1, start + 2, ... until the run is to stop, in all processes alike."""
        try:
            for step, batch in enumerate(batches, start + 1):
                yield batch
                if self._is_time(step):
                    return
        except UserError as error:
            if not self._alone:
                raise
            self.error = error

    def _is_time(self, step: int) -> bool:
        if not self._alone and multihost_utils.reached_preemption_sync_point(step):
            self.by = self.by or signal.SIGTERM
            return True
        return self._alone and self.by is not None

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM) if self._alone else (signal.SIGINT,):
            with contextlib.suppress(ValueError):  # not the main thread, as in some notebooks and servers
                self._handlers.callback(signal.signal, number, signal.signal(number, self._request))
        return self

    def __exit__(self, *exception) -> None:
        self._handlers.close()

    def _request(self, number, frame) -> None:
        self.by = signal.Signals(number)
        self._handlers.close()
        if not self._alone:
            signal.raise_signal(signal.SIGTERM)
