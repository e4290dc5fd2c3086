"""Prints lines and draws progress bars, on process 0 of a run only: in a terminal, a notebook or a log file."""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import absl.logging
import jax
import tqdm.auto
import tqdm.std

from pix2pix_jax.runtime import distributed

_LOG_PERIOD = 60  # seconds between two lines of a bar in a log file


class _Lines(tqdm.std.tqdm):
    """Writes a line a minute where a file keeps what is written: a bar that overwrites itself would fill it.

    A last line is written where `leave=True` is given, or others were before.
    """

    def __init__(self, items: Iterable | None = None, **options: Any):
        line = f"{options['desc']}: " if "desc" in options else ""
        line += "{percentage:3.0f} %, {n_fmt}/{total_fmt} {unit}, {elapsed} gone, {remaining} left{postfix}"
        periods = {"mininterval": _LOG_PERIOD, "miniters": 1, "delay": _LOG_PERIOD}
        self._last_line = options.get("leave", False)
        super().__init__(items, **{"bar_format": line} | options | periods)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        if msg is None:
            self.fp.write(f"{self.format_meter(**self.format_dict | {'ncols': None})}\n".lstrip())
            self.fp.flush()
        return True

    def clear(self, nolock: bool = False) -> None:
        """Does nothing, as lines stay."""

    def close(self) -> None:
        if not self.disable and (self._last_line or (self.leave and self.last_print_n > self.initial)):
            self.display()
        self.last_print_t = float("-inf")  # as if nothing were shown, which tqdm would clear
        super().close()


def bar(items: Iterable | None = None, **options: Any) -> tqdm.std.tqdm:
    """Returns a progress bar over `items`, or one that the caller moves; options are tqdm's."""
    # To ask a single process for its index would start up its devices.
    hidden = jax.distributed.is_initialized() and jax.process_index() != 0
    if not _is_notebook() and not sys.stderr.isatty():
        return _Lines(items, disable=hidden, **options)
    # A notebook without widgets has no lines below one another: a bar while another is shown takes its place.
    position = 0 if _is_notebook() else None
    return tqdm.auto.tqdm(items, disable=hidden, **{"dynamic_ncols": True, "position": position} | options)


def fit(progress: tqdm.std.tqdm, formats: Sequence[str]) -> None:
    """Gives a bar the first of `formats`, each a `bar_format` of tqdm, that the width of the terminal has room for.

    A log file gets the first that draws no {bar:20}, and a notebook, which draws its own, the first.
    """
    state = progress.format_dict
    if _is_notebook():
        formats = [formats[0].replace("{bar:20}", "{bar}")]
    elif isinstance(progress, _Lines):
        formats = [next(text for text in formats if "{bar" not in text)]
    room = state["ncols"] or sys.maxsize
    for text in formats:
        progress.bar_format = text
        if len(progress.format_meter(**state | {"ncols": None, "bar_format": text})) < room:
            return


def _is_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")


def log(message: str) -> None:
    """Prints a line, above the progress bar if there is one; on process 0 only."""
    if not distributed.is_main_process():
        return
    if sys.stderr.isatty():
        tqdm.std.tqdm.write(message)
    else:
        print(message, flush=True)


def log_all(heading: str, errors: Sequence[str]) -> str:
    """Prints errors below a heading, and returns the first with the number of the others."""
    for line in (heading, *(f"  {error}" for error in errors)):
        log(line)
    return errors[0] + (f" (and {len(errors) - 1} more files, listed above)" if len(errors) > 1 else "")


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silences libraries that log by absl: orbax warns of what is intended, such as a read-only folder."""
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.FATAL)
    try:
        yield
    finally:
        absl.logging.set_verbosity(verbosity)
