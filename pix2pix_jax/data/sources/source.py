"""What every source of pairs does.

A source knows its examples by index and returns the two images of a pair as they lie on disk, A and B; `PairedDataset`
makes them an input and a target of one size.
"""

import abc
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from pix2pix_jax.data.files.high_bit_depth import Header

Channels = tuple[int | None, int | None]  # of A and B; None: the file's own


class Source(Protocol):
    """Gives pairs by index."""

    names: Sequence[str]  # of the examples
    places: tuple[str, str]  # where A and B are, for example ("left half", "right half")

    @abc.abstractmethod
    def describe(self) -> str:
        """Summarises the split in one line. Raises UserError if headers show that files cannot be pairs."""

    def sizes(self) -> list[str]:
        """Returns a text for each example that changes with its files, such as their sizes; "" if not known."""
        return [""] * len(self.names)

    def dtypes(self) -> tuple[str, str]:
        """Returns the dtypes (of A, of B) that hold the values of all files: uint8, uint16 or float32."""
        return "uint8", "uint8"

    @abc.abstractmethod
    def header(self, index: int) -> tuple[Header, Header]:
        """Reads the headers of A and B. Raises UserError if they are no images."""

    @abc.abstractmethod
    def pair(self, index: int, channels: Channels) -> tuple[np.ndarray, np.ndarray]:
        """Decodes (A, B), each (H, W, C) of its file's dtype, with `channels` (of A, of B); None: its own."""
