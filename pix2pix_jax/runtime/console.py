"""Prints lines and draws progress bars in the terminal, on process 0 of a run only."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import absl.logging
import jax
from tqdm import tqdm

from pix2pix_jax.runtime import distributed


def bar(items: Iterable | None = None, **options: Any) -> tqdm:
    """Returns a progress bar over `items`, or one that the caller moves; options are tqdm's."""
    # To ask a single process for its index would start up its devices.
    hidden = jax.distributed.is_initialized() and jax.process_index() != 0
    return tqdm(items, disable=hidden, **{"dynamic_ncols": True} | options)


def log(message: str) -> None:
    """Prints a line, above the progress bar if there is one; on process 0 only."""
    if distributed.is_main_process():
        tqdm.write(message)


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
