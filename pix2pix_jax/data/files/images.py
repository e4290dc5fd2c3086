"""Decodes image files to arrays and encodes them.

Files come from strangers: their content tells their kind, sizes are bounded, and errors name the file.
"""

import contextlib
import io
import os
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
from etils import epath, epy
from PIL import Image, ImageOps, features

from pix2pix_jax.data.files import arrays, high_bit_depth
from pix2pix_jax.data.files.high_bit_depth import Header, check_size, upright_size
from pix2pix_jax.data.files.value_range import convert, fit_channels, rounded, to_stored
from pix2pix_jax.errors import UserError, damage_named, printable

with epy.lazy_imports():  # take a while, and few sets have such files
    import imagecodecs
    import tifffile

# Extensions of files that count as images in a folder, and of pictures that cannot be read.
EXTENSIONS = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".avif", ".tif", ".tiff"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga", ".qoi", ".npy"),
}
UNREADABLE = {
    *(".heic", ".heif", ".hif", ".jxl", ".psd", ".exr", ".hdr", ".svg"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
}
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # the second image of a phone's JPEG (MPO) is no frame
MAX_FILE = 4 << 30  # bytes
INTERPOLATIONS = {name: Image.Resampling[name.upper()] for name in ("bicubic", "bilinear", "nearest", "lanczos")}
_MODES = {1: "L", 3: "RGB"}
# What Pillow's readers raise for files that break off or contradict themselves.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, MemoryError),
    *(OverflowError, ZeroDivisionError, AttributeError, RuntimeError),  # of which RecursionError is one
    Image.DecompressionBombError,  # of an image within an image, as in an .icns
)


def read_header(file, name: str = "") -> Header:
    """Reads size, channels and dtype from the header alone; see `decode` for the arguments and errors."""
    name = printable(name or file)
    with _opened(file, name) as stream:
        return _open(stream, name).header


def decode(file, name: str = "", channels: int | None = 3, dtype: str | None = "uint8") -> np.ndarray:
    """Decodes a whole image, or the first frame of an animation.

    Args:
      file: a path, a file object or the encoded bytes.
      name: name of the file in error messages; "" is its path.
      channels: 1 (grey) and 3 (RGB) are made of grey and coloured files; another number must be the file's own. None:
        the file's own.
      dtype: uint8, uint16 or float32 to convert to (`value_range.convert`). None: the file's own, one of these.

    Returns:
      (H, W, channels) of that dtype, upright.

    Raises:
      UserError: no such file, no image, truncated, too large, of other channels, or floats where integers are wanted.
    """
    name = printable(name or file)
    with _opened(file, name) as stream:
        content = io.BytesIO(stream.read())  # at once: Pillow would take an error of the disk for one of the image
    reader = _open(content, name)
    if isinstance(reader, _PillowReader):
        pixels = reader.read(channels)
    else:
        pixels = fit_channels(reader.read(), channels, name, alpha=reader.header.alpha)
    return convert(pixels, dtype, name) if dtype else pixels


def from_pillow(image: Image.Image, name: str, channels: int | None) -> np.ndarray:
    """Returns the pixels (H, W, channels) of an image that Pillow has opened or made, as `decode` does of a file."""
    return _PillowReader(image, name).read(channels)


def to_pillow(image: np.ndarray) -> Image.Image:
    """Makes a Pillow image of (H, W, C). Raises ValueError if Pillow has no mode for this dtype and channels."""
    try:
        return Image.fromarray(_squeeze(image))
    except TypeError:
        raise ValueError(
            f"{image.dtype} of {image.shape[-1]} channels: no PIL image holds that; give the picture as an array"
        ) from None


def _squeeze(image: np.ndarray) -> np.ndarray:
    return image[..., 0] if image.shape[-1] == 1 else image  # as the libraries want it


def resize(image: np.ndarray, size: tuple[int, int], interpolation: str = "bicubic") -> np.ndarray:
    """Resizes (H, W, C), uint8, uint16 or float32, to (*size, C) of the same dtype. Integers are clipped.

    `interpolation` is one of INTERPOLATIONS; all but "nearest" have antialiasing.
    """
    if image.shape[:2] == tuple(size):
        return image
    method = INTERPOLATIONS[interpolation]
    if image.dtype == np.uint8 and image.shape[-1] == 3:
        return np.asarray(Image.fromarray(image).resize(size[::-1], method))
    pillows = np.uint8 if image.dtype == np.uint8 else np.float32  # what it takes of single channels
    planes = np.ascontiguousarray(np.moveaxis(image, -1, 0), pillows)
    resized = [np.asarray(Image.fromarray(plane).resize(size[::-1], method)) for plane in planes]
    return rounded(np.stack(resized, axis=-1), image.dtype)


def encode(image: np.ndarray, extension: str) -> bytes:
    """Encodes uint8, uint16 or float32 (H, W, C) as .png (1, 3 or 4 channels, no floats), .tif or .npy."""
    squeezed = _squeeze(image)
    if extension == ".png" and image.dtype == np.uint16:
        return imagecodecs.png_encode(np.ascontiguousarray(squeezed))
    buffer = io.BytesIO()
    if extension == ".png":
        Image.fromarray(squeezed).save(buffer, format="PNG")
    elif extension == ".npy":
        np.save(buffer, image, allow_pickle=False)
    else:
        colours = "rgb" if image.shape[-1] in (3, 4) else "minisblack"
        planes = "contig" if squeezed.ndim == 3 else None
        tifffile.imwrite(buffer, squeezed, photometric=colours, planarconfig=planes, compression="zlib")
    return buffer.getvalue()


def _check_file(path: str | os.PathLike, name: str) -> None:
    """Raises UserError for a pipe, a device or a file beyond MAX_FILE. Passes what is not on a local file system."""
    if not os.path.exists(path):
        return
    if not os.path.isfile(path):
        raise UserError(f"{name}: not a file; give an image file")
    if os.path.getsize(path) > MAX_FILE:
        raise UserError(f"{name}: has more than {MAX_FILE >> 30} GiB, which no image needs; scale it down")


@contextlib.contextmanager
def _opened(file, name: str) -> Iterator[BinaryIO]:
    """Opens a path, or encoded bytes, as a stream; rewinds a file object."""
    if isinstance(file, bytes):
        yield io.BytesIO(file)
    elif not isinstance(file, str | os.PathLike):
        file.seek(0)
        yield file
    else:
        try:
            _check_file(file, name)
            with epath.Path(file).open("rb") as stream:
                yield stream
        except FileNotFoundError:
            raise UserError(f"{name}: no such file") from None
        except OSError as error:
            raise UserError(f"{name}: cannot be read ({error.strerror})") from error


def _open(stream, name: str):
    """Opens the reader for the file's content, whatever its name is."""
    start = stream.read(25)
    stream.seek(0)
    if start.startswith(arrays.MAGIC):
        return high_bit_depth.NpyReader(stream, name)
    if start.startswith(high_bit_depth.TIFF_MAGIC):
        reader = high_bit_depth.TiffReader(stream, name)
        if not reader.is_plain:
            return reader
        stream.seek(0)
        return _PillowReader(_open_pillow(stream, name), name, size=reader.header.size)
    reader = _PillowReader(_open_pillow(stream, name), name)
    if start.startswith(high_bit_depth.PNG_MAGIC) and start[24:] == b"\x10":  # IHDR's bit depth
        return high_bit_depth.DeepPngReader(stream, name, reader.image, reader.orientation)
    return reader


class _PillowReader:
    """Reads an image with Pillow: 8 bits, and the 16 bits or floats of .pgm and .pfm."""

    def __init__(self, image: Image.Image, name: str, size: tuple[int, int] | None = None):
        """Takes `size`, the (H, W) as displayed, for a TIFF: some versions of Pillow turn it when they open it."""
        self._name, self.image, self._mode = name, image, _own_mode(image)
        check_size(image.size[::-1], name)
        # PngImageFile's own getexif decodes the whole image first.
        self.orientation = _unless_damaged(lambda: Image.Image.getexif(image).get(0x0112, 1), 1)
        self.header = Header(
            size=size or upright_size(image.size[::-1], self.orientation),
            channels=len(self._mode),
            alpha=self._mode.endswith("A"),
            dtype={"I": "uint16", "F": "float32"}.get(self._mode, "uint8"),
            animated=_unless_damaged(lambda: image.format in _ANIMATED and image.is_animated, False),
        )

    def read(self, channels: int | None) -> np.ndarray:
        """Decodes (H, W, channels); see `decode` for `channels`."""
        with damage_named(self._name, _DAMAGE):
            image = ImageOps.exif_transpose(self.image)
            if self.header.dtype == "uint8":
                image = _to_mode(image, _MODES.get(channels, self._mode))
            pixels = np.asarray(image)
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        if self.header.dtype == "uint16":
            pixels = pixels.clip(0, 65535).astype(np.uint16)
        elif self.header.dtype == "float32":
            pixels = to_stored(pixels, self._name)
        return fit_channels(pixels, channels, self._name)


def _unless_damaged(read: Callable[[], Any], otherwise: Any) -> Any:
    try:
        return read()
    except _DAMAGE:
        return otherwise


def _open_pillow(stream, name: str) -> Image.Image:
    try:
        image = Image.open(stream)
    except Image.DecompressionBombError as error:
        raise UserError(f"{name}: {error}; scale it down") from error
    except _DAMAGE as error:
        raise UserError(f"{name}: {_why_unreadable(stream)}") from error
    if image.format == "EPS":  # for which Pillow would start Ghostscript
        raise UserError(f"{name}: a PostScript program, which is not run; save it as PNG")
    return image


def _why_unreadable(stream) -> str:
    stream.seek(4)
    brand = stream.read(8)
    if brand in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc"):
        return "a HEIC picture, which cannot be read; convert it to PNG or JPEG"
    if brand == b"ftypavif" and not features.check("avif"):
        return "an AVIF picture, which takes Pillow 11.3 or newer; install that, or convert it to PNG or JPEG"
    return "not a readable image; replace or delete it"


def _own_mode(image: Image.Image) -> str:
    """Returns the mode that holds all of the image, a letter a channel: L, LA, RGB, RGBA, I (16 bits) or F."""
    if image.mode[0] in "IF":
        return image.mode[0]
    grey = image.mode in ("1", "L", "LA", "La")
    return ("L" if grey else "RGB") + ("A" if image.has_transparency_data else "")


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.has_transparency_data and not mode.endswith("A"):  # transparent pixels hold arbitrary colours
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)
