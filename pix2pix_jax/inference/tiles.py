"""Translates a picture at its own size, in one pass or in tiles, with the same result.

A picture is padded by reflection, at its right and lower border, to a size that the generator takes. Each tile shows as
many pixels around its kept part as the outer layers see; the inner layers run on the whole picture. Norms take the
moments of the whole picture: one pass over all tiles measures those of one norm, while those before it are known. So
tiles need no blending, and have no seams.
"""

import collections
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import numpy as np

from pix2pix_jax.inference.window_programs import WindowPrograms
from pix2pix_jax.inference.windows import Moments, Window

_IN_FLIGHT = 2  # tiles: one is computed while the next is read and the last is taken


class Picture(Protocol):
    """Is a picture that need not fit into memory; `shape` is (H, W, C)."""

    shape: tuple[int, ...]

    def read(self, top: int, bottom: int) -> np.ndarray:
        """Returns the rows from `top` to `bottom`, (bottom - top, W, C), as stored."""
        ...


class ArrayPicture:
    """Holds a picture (H, W, C) in memory."""

    def __init__(self, array: np.ndarray):
        self._array, self.shape = array, array.shape

    def read(self, top: int, bottom: int) -> np.ndarray:
        return self._array[top:bottom]


def padded_size(picture: Picture, multiple: int) -> tuple[int, int]:
    """Returns (H, W) of a picture padded to multiples of `multiple`."""
    height, width = (-(-side // multiple) * multiple for side in picture.shape[:2])
    return height, width


def bucket(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """Returns the size of the window for pictures of `size`, so that few programs serve all sizes.

    Its sides are the smallest of multiple * (1, 2, 4, 6, 8, 12, 16 ...) that hold the picture.
    """

    def fit(side: int) -> int:
        count = -(-side // multiple)
        power = 1 << (count - 1).bit_length()
        return multiple * (power * 3 // 4 if power > 4 and count <= power * 3 // 4 else power)

    return fit(size[0]), fit(size[1])


def in_one_pass(programs: WindowPrograms, picture: Picture, key: jax.Array) -> np.ndarray:
    """Translates a picture in one pass. Returns (H, W, D) as stored."""
    size = padded_size(picture, programs.multiple)
    height, width = bucket(size, programs.multiple)
    pixels = _rows(picture, (0, height), size[0])[:, _columns(picture, (0, width), size[1])]
    output = programs.run(pixels[None], Window.of(0, 0, size), key)
    return np.asarray(output)[0, : picture.shape[0], : picture.shape[1]]


class Tiling:
    """Translates one picture in tiles.

    Attributes:
      num_tiles: tiles in all passes together.
    """

    def __init__(
        self,
        programs: WindowPrograms,
        picture: Picture,
        key: jax.Array,
        *,
        side: int,
        depth: int,
    ):
        """Cuts the picture.

        Args:
          programs: the generator.
          picture: the picture.
          key: draws dropout.
          side: side of a tile as the generator sees it, in pixels; a multiple of 2**depth.
          depth: depth of the layers that run on the whole picture; 0: none.
        """
        self._programs, self._picture, self._key = programs, picture, key
        self._side, self._depth, self._scale = side, depth, 2**depth
        self._halo = programs.context(depth)
        self._core = side - 2 * self._halo
        self._size = padded_size(picture, programs.multiple)
        self._tops, self._lefts = (range(0, length, self._core) for length in self._size)
        self._known: dict[str, Moments] = {}
        self._inside: np.ndarray | None = None
        self._progress: Callable[[], object] = lambda: None
        passes = sum(map(len, programs.norms(depth))) + (2 if depth else 1)
        self.num_tiles = passes * len(self._tops) * len(self._lefts)

    def bands(self, progress: Callable[[], object] = lambda: None) -> Iterator[np.ndarray]:
        """Yields the translation from the top down, (h, W, D) as stored; calls `progress` after each tile."""
        self._progress = progress
        before, after = self._programs.norms(self._depth)
        self._measure(before)
        if self._depth:
            self._inside = self._run_inner()
        self._measure(after)
        height, width, _ = self._picture.shape
        for top, band in self._bands("output", 1):
            if top < height:
                yield band[: height - top, :width]

    def _measure(self, norms: tuple[str, ...]) -> None:
        for name in norms:
            self._known[name] = _joined([moments for _, row in self._passed(name) for moments in row])

    def _run_inner(self) -> np.ndarray:
        height, width = (length // self._scale for length in self._size)
        shape = bucket((height, width), max(self._programs.multiple // self._scale, 1))
        filled = None
        for top, band in self._bands("inner", self._scale):
            filled = np.zeros((*shape, band.shape[-1]), band.dtype) if filled is None else filled
            filled[top // self._scale : top // self._scale + len(band), : band.shape[1]] = band
        inside = self._programs.inner(filled[None], Window.of(0, 0, self._size), self._key, depth=self._depth)
        return np.asarray(inside)[0, :height, :width]

    def _bands(self, wanted: str, scale: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (top, kept parts of a row of tiles side by side), without what lies beyond the picture."""
        first, last = self._halo // scale, (self._halo + self._core) // scale
        height, width = (length // scale for length in self._size)
        for top, row in self._passed(wanted):
            band = np.concatenate([tile[0, first:last, first:last] for tile in row], axis=1)
            yield top, band[: height - top // scale, :width]

    def _passed(self, wanted: str) -> Iterator[tuple[int, list[Any]]]:
        """Runs all tiles once. Yields (top, results from left to right) of each row of tiles."""
        flying: collections.deque[Any] = collections.deque()
        dispatched = (tile for top in self._tops for tile in self._dispatch(top, wanted))
        for top in self._tops:
            row = []
            for _ in self._lefts:
                while len(flying) < _IN_FLIGHT and (tile := next(dispatched, None)) is not None:
                    flying.append(tile)
                row.append(jax.tree.map(np.asarray, flying.popleft()))
                self._progress()
            yield top, row

    def _dispatch(self, top: int, wanted: str) -> Iterator[Any]:
        """Starts the tiles of one row, each when it is asked for."""
        height, width = self._size
        rows = (top - self._halo, top - self._halo + self._side)
        pixels = _rows(self._picture, rows, height)
        for left in self._lefts:
            columns = (left - self._halo, left - self._halo + self._side)
            own = (top, min(top + self._core, height), left, min(left + self._core, width))
            yield self._programs.run(
                pixels[None, :, _columns(self._picture, columns, width)],
                Window.of(rows[0], columns[0], self._size, own),
                self._key,
                wanted=wanted,
                depth=self._depth,
                known=self._known,
                inside=None if self._inside is None else self._inside_part(rows[0], columns[0]),
            )

    def _inside_part(self, top: int, left: int) -> np.ndarray:
        size, (height, width, channels) = self._side // self._scale, self._inside.shape
        part = np.zeros((1, size, size, channels), self._inside.dtype)
        y, x = top // self._scale, left // self._scale
        rows, columns = slice(max(y, 0), min(y + size, height)), slice(max(x, 0), min(x + size, width))
        part[0, rows.start - y : rows.stop - y, columns.start - x : columns.stop - x] = self._inside[rows, columns]
        return part


def _rows(picture: Picture, rows: tuple[int, int], height: int) -> np.ndarray:
    """Reads rows of a picture that is padded by reflection to `height`; what is beyond that does not matter."""
    index = _reflected(np.arange(*rows).clip(0, height - 1), picture.shape[0])
    first = int(index.min())
    return picture.read(first, int(index.max()) + 1)[index - first]


def _columns(picture: Picture, columns: tuple[int, int], width: int) -> np.ndarray:
    return _reflected(np.arange(*columns).clip(0, width - 1), picture.shape[1])


def _reflected(index: np.ndarray, size: int) -> np.ndarray:
    """Reflects numbers from 0 on into [0, size) without repeating the border, as NumPy's padding "reflect"."""
    period = max(2 * size - 2, 1)
    return np.minimum(index % period, period - index % period) % size


def _joined(parts: list[Moments]) -> Moments:
    """Joins the moments of disjoint parts of a picture, in float64."""
    exact = [Moments(*(np.asarray(x, np.float64) for x in part)) for part in parts]
    count = sum(part.count for part in exact)
    mean = sum(part.count * part.mean for part in exact) / count
    var = sum(part.count * (part.var + (part.mean - mean) ** 2) for part in exact) / count
    return Moments(*(np.asarray(x, np.float32) for x in (count, mean, var)))
