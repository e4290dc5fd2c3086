"""Reads the image files that Pillow cannot read whole: TIFF, PNG of 16 bits, .npy.

A reader takes an open file. It reads `header` at once and checks its size; `read()` decodes the pixels.
"""

import contextlib
import dataclasses
import logging
import math
from collections.abc import Iterator

import numpy as np
from etils import epy
from PIL import Image

from pix2pix_jax.data.files import arrays
from pix2pix_jax.data.files.value_range import stored_dtype, to_stored
from pix2pix_jax.errors import UserError

with epy.lazy_imports():  # take a while, and few sets have such files
    import imagecodecs
    import tifffile

MAX_PIXELS = 150_000_000  # a decoded RGB image of 450 MB; more is a decompression bomb or a mistake
MAX_BYTES = 1 << 30  # of an image of other depth
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PHOTOMETRICS = ("MINISWHITE", "MINISBLACK", "RGB")
_CONTRADICTION = "its header contradicts its pixels"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it logs of odd tags is not for our users


@dataclasses.dataclass(frozen=True)
class Header:
    """Describes an image file."""

    size: tuple[int, int]  # (H, W) as displayed
    channels: int = 3  # with alpha
    alpha: bool = False  # whether the last channel is opacity
    dtype: str = "uint8"  # of the decoded values: uint8, uint16 or float32
    animated: bool = False  # whether the file has several frames, of which the first is decoded


def height_by_width(size: tuple[int, int]) -> str:
    """Formats a size (H, W) for messages: 256x512 (HxW)."""
    return f"{size[0]}x{size[1]} (HxW)"


def check_size(size: tuple[int, int], name: str, *, depth: int = 3) -> None:
    """Raises UserError if an image of `size` (H, W), `depth` bytes a pixel, is too large to decode, or empty."""
    pixels = math.prod(size)
    if pixels > MAX_PIXELS or pixels * depth > MAX_BYTES:
        raise UserError(
            f"{name}: {height_by_width(size)} pixels of {depth} bytes, more than {MAX_PIXELS} or {MAX_BYTES} bytes; "
            "scale it down"
        )
    if pixels == 0:
        raise UserError(f"{name}: not a readable image, it has no pixels; replace or delete it")


@contextlib.contextmanager
def damage_named(name: str, errors: tuple[type[Exception], ...] = (Exception,)) -> Iterator[None]:
    """Turns `errors`, which readers raise for damaged images, into a UserError that names the file."""
    try:
        yield
    except errors as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{name}: damaged image ({reason}); replace or delete it") from error


def upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Returns the (H, W) as displayed of an image of the stored (H, W) `size`."""
    return size[::-1] if orientation in (5, 6, 7, 8) else size


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an EXIF orientation, 1 to 8; others are ignored."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


class DeepPngReader:
    """Reads a PNG of 16 bits a channel as uint16."""

    def __init__(self, stream, name: str, image: Image.Image, orientation: int):
        """Takes `image`, the file as Pillow opened it, whose size has been checked."""
        self._stream, self._name, self._orientation = stream, name, orientation
        stream.seek(25)  # IHDR's colour type
        colour = stream.read(1)[0]
        alpha = bool(colour & 4) or "transparency" in image.info
        size = upright_size(image.size[::-1], orientation)
        self.header = Header(size=size, channels=(3 if colour & 2 else 1) + alpha, alpha=alpha, dtype="uint16")
        check_size(size, name, depth=2 * self.header.channels)

    def read(self) -> np.ndarray:
        self._stream.seek(0)
        with damage_named(self._name, (imagecodecs.PngError, ValueError, MemoryError)):
            pixels = imagecodecs.png_decode(self._stream.read())
            pixels = upright(pixels.reshape(*pixels.shape[:2], -1), self._orientation)
            if pixels.shape != (*self.header.size, self.header.channels) or pixels.dtype != np.uint16:
                raise ValueError(_CONTRADICTION)
        return pixels


class NpyReader:
    """Reads a .npy of one image, (H, W) or (H, W, C)."""

    def __init__(self, stream, name: str):
        self._stream, self._name = stream, name
        shape, dtype = arrays.read_header(stream, name)
        if len(shape) not in (2, 3) or shape[2:] == (0,):
            raise UserError(f"{name}: an array of {'x'.join(map(str, shape))}; one image is (H, W) or (H, W, C)")
        height, width, channels = (*shape, 1)[:3]
        check_size((height, width), name, depth=channels * dtype.itemsize)
        self.header = Header((height, width), channels, dtype=stored_dtype(dtype))

    def read(self) -> np.ndarray:
        self._stream.seek(0)
        with damage_named(self._name):
            pixels = np.load(self._stream, allow_pickle=False)
        return to_stored(pixels.reshape(*self.header.size, self.header.channels), self._name)


class TiffReader:
    """Reads a TIFF of any number of channels, or the first image of several."""

    def __init__(self, stream, name: str):
        self._name = name
        try:
            self._series = tifffile.TiffFile(stream).series[0]
            self._page = self._series.keyframe
            self.header = self._read_header()
        except UserError:
            raise
        except Exception as error:  # tifffile raises of all kinds for files that contradict themselves
            raise UserError(f"{name}: not a readable image; replace or delete it") from error

    @property
    def is_plain(self) -> bool:
        """Returns whether Pillow can read it: one image of 8 bits; grey, colour or CMYK; with or without alpha."""
        bits, samples = self._page.bitspersample, self._page.samplesperpixel
        return isinstance(bits, int) and bits <= 8 and samples in (1, 3, 4) and len(self._series.pages) == 1

    def _read_header(self) -> Header:
        page, series = self._page, self._series
        self._order = _image_axes(series.shape, series.axes, self._name)
        self._shape = height, width, channels = (*(series.shape[axis] for axis in self._order), 1)[:3]
        check_size((height, width), self._name, depth=channels * np.dtype(series.dtype).itemsize)
        check_size((math.prod(page.chunks), 1), self._name, depth=np.dtype(page.dtype).itemsize)
        dtype = stored_dtype(series.dtype)
        if dtype is None:
            raise UserError(f"{self._name}: holds values of type {series.dtype}; save uint8, uint16 or float32")
        if page.photometric.name not in _PHOTOMETRICS and not self.is_plain:
            raise UserError(f"{self._name}: a TIFF in the colours {page.photometric.name}; save it as grey or RGB")
        alpha = any(sample in (1, 2) for sample in page.extrasamples[-1:])
        self._orientation = int(page.tags.valueof(274, default=1))
        return Header(upright_size((height, width), self._orientation), channels, alpha, dtype)

    def read(self) -> np.ndarray:
        with damage_named(self._name):  # each codec has errors of its own
            pixels = self._series.asarray(maxworkers=1)
            if pixels.shape != self._series.shape:
                raise ValueError(_CONTRADICTION)
        rest = [axis for axis in range(pixels.ndim) if axis not in self._order]
        pixels = pixels.transpose(*self._order, *rest).reshape(self._shape)
        if self._page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and pixels.dtype.kind in "bu":
            pixels = ~pixels
        return upright(to_stored(pixels, self._name), self._orientation)


def _image_axes(shape: tuple[int, ...], axes: str, name: str) -> list[int]:
    """Finds the axes of rows, columns and, if there is one, channels. Raises UserError for a series of images.

    Channels are the axis of samples (S) or channels (C). Where a program left axes without a name (Q), they are the
    shorter of the first and the last.
    """
    kept = [i for i, (n, axis) in enumerate(zip(shape, axes, strict=True)) if n != 1 or axis in "YX"]
    if len(kept) == 2:
        return kept
    names = [axes[i] for i in kept]
    channel = next((kept[names.index(letter)] for letter in "SC" if letter in names), None)
    if channel is None and len(kept) == 3 and "Q" in names:
        channel = min(kept[2], kept[0], key=lambda i: shape[i])
    if len(kept) != 3 or channel is None:
        raise UserError(
            f"{name}: a TIFF of several images ({'x'.join(str(shape[i]) for i in kept)}, axes {''.join(names)}); save "
            "one image a file, with its channels interleaved"
        )
    return [*(i for i in kept if i != channel), channel]
