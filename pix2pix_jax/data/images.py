"""Image files to uint8 arrays and back. Files come from strangers: sizes are bounded, errors name the file."""

import io
import struct

import numpy as np
from PIL import Image, ImageOps

from pix2pix_jax.errors import UserError

MAX_PIXELS = 150_000_000  # a decoded RGB image of 450 MB; more is a decompression bomb or a mistake
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_MODES = {1: "L", 3: "RGB"}
# What Pillow's readers raise for files that break off or contradict themselves.
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, MemoryError)


def read_size(file, name: str) -> tuple[int, int]:
    """(height, width) as displayed, from the header alone. Raises UserError if it is not an image."""
    with _open(file, name) as image:
        try:
            exif = Image.Image.getexif(image)  # PngImageFile's own decodes the whole image first
        except _DAMAGE:
            exif = {}
        turned = exif.get(0x0112, 1) in (5, 6, 7, 8)  # EXIF orientations that swap the sides
        return image.size if turned else image.size[::-1]


def decode(file, name: str, channels: int = 3) -> np.ndarray:
    """Decodes a whole image.

    Args:
      file: a path, a file object or the encoded bytes.
      name: what error messages call the file.
      channels: 1 (grey) or 3 (RGB); files of other kinds are converted.

    Returns:
      uint8 (H, W, channels), upright.

    Raises:
      UserError: not an image, truncated, of more than MAX_PIXELS pixels, or `channels` is another number.
    """
    if channels not in _MODES:
        raise UserError(f"{name}: an image has 1 or 3 channels, not {channels}; set config.input_channels to match")
    with _open(file, name) as image:
        try:
            image = ImageOps.exif_transpose(image)
            pixels = np.asarray(_to_mode(image, _MODES[channels]))
        except _DAMAGE as error:
            raise UserError(f"{name}: damaged image ({error}); replace or delete it") from error
    return pixels.reshape(*pixels.shape[:2], channels)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bicubic with antialiasing, as the published systems: uint8 (H, W, C) -> uint8 (*size, C)."""
    if image.shape[:2] == tuple(size):
        return image
    squeezed = image[..., 0] if image.shape[-1] == 1 else image
    resized = Image.fromarray(squeezed).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(resized).reshape(*size, image.shape[-1])


def encode_png(image: np.ndarray) -> bytes:
    """uint8 (H, W, 1 or 3) to the bytes of a PNG file."""
    squeezed = image[..., 0] if image.shape[-1] == 1 else image
    buffer = io.BytesIO()
    Image.fromarray(squeezed).save(buffer, format="PNG")
    return buffer.getvalue()


def _open(file, name: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(file) if isinstance(file, bytes) else file)
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except Image.DecompressionBombError as error:
        raise UserError(f"{name}: {error}; scale it down") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{name}: not a readable image; replace or delete it") from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise UserError(f"{name}: {image.width}x{image.height} pixels, more than {MAX_PIXELS}; scale it down")
    return image


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion would clip at 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.has_transparency_data:  # transparent pixels hold arbitrary colours
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image)
    return image.convert(mode)
