"""Pairs that a program hands over: two arrays, or any sequence of pairs."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import google_crc32c
import numpy as np
from etils import epath
from PIL import Image

from pix2pix_jax.data.files import arrays, images
from pix2pix_jax.data.files.any_image import to_numpy
from pix2pix_jax.data.files.high_bit_depth import Header
from pix2pix_jax.data.files.value_range import fit_channels, stored_dtype, to_stored
from pix2pix_jax.data.sources.folders import ALIASES
from pix2pix_jax.data.sources.source import Channels, Source
from pix2pix_jax.errors import NoSplit, UserError

GIVEN = "given"  # the data set of a run whose pairs a program hands over
_KEYS = arrays.NAMES[:2]  # of a pair that is a mapping
_SAMPLE = 64  # number of examples whose pixels a fingerprint holds, where each has to be made to be seen


def open_given(data: Any, split: str) -> "GivenSource":
    """Opens a split of `data`, which is {"train": pairs, "val": pairs, ...}, or the pairs of "train" alone.

    Raises:
      NoSplit: there are others only.
      UserError: they are no pairs.
    """
    splits = data if isinstance(data, Mapping) else {"train": data}
    for name in ALIASES[split]:
        if name in splits:
            return GivenSource(splits[name], split)
    raise NoSplit(f"data: has no {split}, only {', '.join(map(str, splits))}; give data={{'{split}': pairs, ...}} too")


class GivenSource(Source):
    """Pairs by index: a tuple of two sequences (all A, all B), or a sequence whose elements are pairs.

    Sequences have a length and elements by index, as arrays (N, H, W, C), lists, data sources of Grain and TFDS, data
    sets of PyTorch and columns of Hugging Face have. A pair is a tuple (A, B), or a mapping of A and B or of input and
    target. An image is an array (H, W, C) or (H, W) of any library, a PIL image, or a path.
    """

    places = ("A", "B")

    def __init__(self, pairs: Any, split: str):
        """Takes the pairs. Raises UserError if they are none."""
        self._columns = pairs if isinstance(pairs, tuple) and len(pairs) == 2 else None
        self._pairs = pairs
        counts = [self._count(part) for part in self._columns or (pairs,)]
        if len(set(counts)) > 1:
            raise UserError(f"data: {counts[0]} images A and {counts[1]} images B; both must be as many")
        if not counts[0]:
            raise UserError(f"data: no pairs in {split}; give at least one")
        width = len(str(counts[0] - 1))
        self.names = [f"{split}/{i:0{width}d}" for i in range(counts[0])]

    def _count(self, part: Any) -> int:
        if hasattr(part, "__len__") and hasattr(part, "__getitem__"):
            return len(part)
        raise UserError(
            f"data: a {type(part).__name__} has no length or no elements by index; give two arrays (N, H, W, C), or a "
            "sequence of pairs (A, B)"
        )

    def describe(self) -> str:
        kinds = dict.fromkeys(type(part).__name__ for part in self._columns or (self._pairs,))
        return f"{len(self.names)} pairs given as {' and '.join(kinds)}"

    def sizes(self) -> list[str]:
        """Returns the checksum of each pair in memory; of others, those of a few and "" for the rest."""
        in_memory = all(isinstance(part, np.ndarray) for part in self._columns or (None,))
        count = len(self.names)
        wanted = range(count) if in_memory else np.linspace(0, count - 1, min(_SAMPLE, count)).astype(int)
        found = [""] * count
        for index in map(int, wanted):
            found[index] = "+".join(_checksum(image) for image in self.pair(index, (None, None)))
        return found

    def dtypes(self) -> tuple[str, str]:
        return tuple(header.dtype for header in self.header(0))

    def header(self, index: int) -> tuple[Header, Header]:
        a, b = self.pair(index, (None, None))
        return tuple(Header(image.shape[:2], image.shape[2], dtype=str(image.dtype)) for image in (a, b))

    def pair(self, index: int, channels: Channels) -> tuple[np.ndarray, np.ndarray]:
        sides = zip("AB", self._sides(index), channels, strict=True)
        return tuple(_pixels(image, f"{self.names[index]} {side}", count) for side, image, count in sides)

    def _sides(self, index: int) -> tuple[Any, Any]:
        if self._columns:
            return self._columns[0][index], self._columns[1][index]
        pair = self._pairs[index]
        if isinstance(pair, Mapping):
            for a, b in _KEYS:
                if a in pair and b in pair:
                    return pair[a], pair[b]
            raise UserError(
                f"data: {self.names[index]} has {', '.join(map(str, pair))}; name its images A and B or input and "
                "target, or give a tuple (A, B)"
            )
        if isinstance(pair, Sequence) and len(pair) == 2:
            return pair[0], pair[1]
        raise UserError(f"data: {self.names[index]} is a {type(pair).__name__}; must be a pair, as a tuple (A, B)")


def _pixels(image: Any, name: str, channels: int | None) -> np.ndarray:
    """Returns an image as (H, W, C) of a stored dtype."""
    if isinstance(image, str | os.PathLike):
        return images.decode(epath.Path(image).expanduser(), channels=channels, dtype=None)
    if isinstance(image, Image.Image):
        return images.from_pillow(image, name, channels)
    try:
        pixels = to_numpy(image)
    except ValueError as error:
        raise UserError(f"data: {name}: {error}") from error
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or stored_dtype(pixels.dtype) is None:
        raise UserError(f"data: {name}: {pixels.dtype} of shape {pixels.shape}; must be an image (H, W, C) of numbers")
    if pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 2, 3, 4):
        raise UserError(f"data: {name}: of shape {pixels.shape}; channels come last: np.moveaxis(image, 0, -1)")
    return fit_channels(to_stored(pixels, f"data: {name}"), channels, f"data: {name}")


def _checksum(image: np.ndarray) -> str:
    return f"{image.dtype}{list(image.shape)}:{google_crc32c.value(np.ascontiguousarray(image).tobytes()):08x}"
