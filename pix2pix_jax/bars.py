"""Progress bars, which process 0 of a run alone shows."""

from collections.abc import Iterable
from typing import Any

import jax
from tqdm import tqdm


def bar(items: Iterable | None = None, **options: Any) -> tqdm:
    """A progress bar over `items`, or one that is moved by hand; options are tqdm's."""
    # A process that is alone is not asked for its number, which would start up its devices.
    hidden = jax.distributed.is_initialized() and jax.process_index() != 0
    return tqdm(items, disable=hidden, **{"dynamic_ncols": True} | options)
