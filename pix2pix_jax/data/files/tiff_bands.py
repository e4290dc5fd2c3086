"""TIFF files that need not fit into memory: rows are read and written a band at a time."""

import functools
import os
from collections.abc import Iterable, Iterator

import numpy as np
from etils import epy

from pix2pix_jax.data.files.value_range import stored_dtype
from pix2pix_jax.errors import UserError

with epy.lazy_imports():
    import tifffile

MAX_PIXELS = 1 << 33  # eight times 32,768 x 32,768: more is a mistake
_MAX_SEGMENT = 1 << 28  # bytes of a decoded strip or tile
_TILE = 256  # side of the tiles that are written
_KEPT = 64  # decoded segments


class TiffRows:
    """Reads rows of a TIFF of one image with interleaved channels, in strips or tiles.

    Attributes:
      shape: (H, W, C).
      dtype: name of the dtype: uint8, uint16 or float32.
      alpha: whether the last channel is opacity.
    """

    def __init__(self, path: str | os.PathLike, name: str):
        """Reads the header.

        Args:
          path: a local file.
          name: what to call it in messages.

        Raises:
          UserError: it is no TIFF, or one of another kind or of an absurd size.
        """
        self._name = name
        try:
            self._page = page = tifffile.TiffFile(path).pages.first
            self.shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
            self.dtype = stored_dtype(np.dtype(page.dtype))
            self.alpha = any(sample in (1, 2) for sample in page.extrasamples[-1:])
            plain = page.planarconfig == tifffile.PLANARCONFIG.CONTIG and page.imagedepth == 1
            color = page.photometric.name in ("MINISBLACK", "RGB", "YCBCR")
            upright = page.tags.valueof(274, default=1) == 1
            segment = np.prod(page.chunks, dtype=np.int64) * np.dtype(page.dtype).itemsize
        except Exception as error:  # tifffile raises of all kinds for files that contradict themselves
            raise UserError(f"{name}: not a readable image; replace or delete it") from error
        if not (plain and color and upright and self.dtype == page.dtype.name):
            raise UserError(
                f"{name}: too large to be read whole, and not a plain TIFF that can be read in parts; save it upright, "
                "grey or RGB, channels interleaved, as uint8, uint16 or float32"
            )
        if not 0 < self.shape[0] * self.shape[1] <= MAX_PIXELS or segment > _MAX_SEGMENT:
            raise UserError(f"{name}: its parts are too large to be read; save it in tiles of 256 pixels")
        self._segment = functools.lru_cache(_KEPT)(self._decode)

    def read(self, top: int, bottom: int) -> np.ndarray:
        """Returns rows `top` to `bottom`, (bottom - top, W, C). Raises UserError if they are damaged."""
        _, width, channels = self.shape
        tall, wide = self._page.chunks[:2]
        across = -(-width // wide)
        rows = np.zeros((bottom - top, width, channels), self.dtype)
        for i in range(top // tall, -(-bottom // tall)):
            first, last = max(i * tall, top), min((i + 1) * tall, bottom)
            for j in range(across):
                part = self._segment(i * across + j)[first - i * tall : last - i * tall]
                rows[first - top : last - top, j * wide : (j + 1) * wide] = part[:, : width - j * wide]
        return rows

    def _decode(self, index: int) -> np.ndarray:
        page, file = self._page, self._page.parent.filehandle
        try:
            file.seek(page.dataoffsets[index])
            data = file.read(page.databytecounts[index])
            part, _, shape = page.decode(data, index, jpegtables=page.jpegtables)
            part = np.zeros(page.chunks, self.dtype) if part is None else part.reshape(shape)[0]
            whole = np.zeros((*page.chunks[:2], self.shape[2]), self.dtype)
            whole[: part.shape[0], : part.shape[1]] = part.reshape(*part.shape[:2], -1)
        except Exception as error:  # as above; and each codec has its own
            raise UserError(f"{self._name}: damaged image; replace or delete it") from error
        return whole


def count_pixels(path: str | os.PathLike) -> int:
    """Returns the pixels of a TIFF's first image; 0 if it cannot be read."""
    try:
        with tifffile.TiffFile(path) as file:
            return file.pages.first.imagelength * file.pages.first.imagewidth
    except Exception:  # tifffile raises of all kinds; whoever reads the file says what is wrong with it
        return 0


def write(path: str | os.PathLike, bands: Iterable[np.ndarray], shape: tuple[int, int, int], dtype: str) -> None:
    """Writes a TIFF in compressed tiles.

    Args:
      path: a local file; what was there is replaced.
      bands: rows from the top down, (h, W, C) of any heights, H rows in all.
      shape: (H, W, C).
      dtype: dtype of the values.
    """
    big = np.prod(shape, dtype=np.int64) * np.dtype(dtype).itemsize > 2**31
    with tifffile.TiffWriter(path, bigtiff=bool(big)) as file:
        file.write(
            _tiles(bands, shape[1]),
            shape=shape if shape[2] > 1 else shape[:2],
            dtype=dtype,
            tile=(_TILE, _TILE),
            compression="zlib",
            predictor=True,
            photometric="rgb" if shape[2] in (3, 4) else "minisblack",
            planarconfig="contig" if shape[2] > 1 else None,
            metadata=None,
        )


def _tiles(bands: Iterable[np.ndarray], width: int) -> Iterator[np.ndarray]:
    """Cuts bands into tiles, from left to right and from the top down; those at the edges are filled with zeros."""
    for rows in _of_height(bands, _TILE):
        for left in range(0, width, _TILE):
            tile = np.zeros((_TILE, _TILE, rows.shape[2]), rows.dtype)
            part = rows[:, left : left + _TILE]
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile if rows.shape[2] > 1 else tile[..., 0]


def _of_height(bands: Iterable[np.ndarray], height: int) -> Iterator[np.ndarray]:
    """Cuts bands again, so that all but the last have `height` rows."""
    waiting: list[np.ndarray] = []
    count = 0
    for band in bands:
        waiting, count = [*waiting, band], count + len(band)
        if count >= height:
            rows = np.concatenate(waiting)
            whole = count // height * height
            yield from (rows[i : i + height] for i in range(0, whole, height))
            waiting, count = [rows[whole:]], count - whole
    if count:
        yield np.concatenate(waiting)
