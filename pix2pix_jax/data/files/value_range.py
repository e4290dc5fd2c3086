"""Value ranges: the dtypes and limits of stored images, and their conversion to [-1, 1] and back."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from pix2pix_jax.errors import UserError

DTYPES = ("uint8", "uint16", "float32")  # each holds what those before it hold
_FULL = {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0)}


@dataclasses.dataclass(frozen=True)
class ValueRange:
    """Describes the stored values of a stream; those beyond `low` and `high` are clipped."""

    dtype: str = "uint8"  # one of DTYPES
    low: float = 0.0  # becomes -1
    high: float = 255.0  # becomes 1

    @classmethod
    def of(cls, dtype: str, limits: Sequence[float] | None, field: str = "config.input_range") -> "ValueRange":
        """Makes the value range of a config's dtype and range. The dtype "auto" counts as uint8.

        Raises:
          UserError: float32 without a range; the message names `field`, which sets it.
        """
        dtype = "uint8" if dtype == "auto" else dtype
        limits = limits or _FULL.get(dtype)
        if limits is None:
            raise UserError(f"{field}: unset, but float32 needs it; set what becomes -1 and 1: --{field}=LOW,HIGH")
        return cls(dtype, float(limits[0]), float(limits[1]))

    @property
    def limits(self) -> tuple[float, float]:
        return self.low, self.high

    @property
    def is_integer(self) -> bool:
        return self.dtype != "float32"

    @property
    def is_full(self) -> bool:
        """Returns whether no value of the dtype is beyond the limits."""
        return self.limits == _FULL.get(self.dtype)

    @property
    def half(self) -> float:
        """Returns by how much stored values differ that differ by 1 in [-1, 1]."""
        return (self.high - self.low) / 2

    @property
    def stored_limits(self) -> tuple[float, float]:
        """Returns the least and the largest value that may be stored."""
        if not self.is_integer:
            return self.limits
        return max(math.ceil(self.low), 0), min(math.floor(self.high), np.iinfo(self.dtype).max)


UINT8 = ValueRange()
NORMALISED = ValueRange("float32", -1.0, 1.0)  # what the networks see


def to_float(image: jax.Array, values: ValueRange = UINT8) -> jax.Array:
    """Converts stored values, by default uint8 in [0, 255], to float32 in [-1, 1]."""
    image = image.astype(jnp.float32)
    if not values.is_full:
        image = jnp.clip(image, values.low, values.high)
    return (image - values.low) / values.half - 1


def from_float(image: jax.Array, values: ValueRange = UINT8) -> jax.Array:
    """Converts floats in [-1, 1] to stored values, clipped to their range; integers are rounded to nearest."""
    image = (image + 1) * values.half + values.low
    image = jnp.round(image) if values.is_integer else image
    return jnp.clip(image, *values.stored_limits).astype(values.dtype)


def levels(stored: np.ndarray, values: ValueRange) -> np.ndarray:
    """Rounds stored values to their nearest levels of 8 bits, on the host: uint8 of the same shape."""
    if values == UINT8:
        return np.asarray(stored, np.uint8)
    share = (np.asarray(stored, np.float64) - values.low) / (values.high - values.low)
    return rounded(share * 255, "uint8")


def render(image: jax.Array) -> np.ndarray:
    """Renders any stream for viewing: float (..., C) in [-1, 1] to uint8 (..., 1 or 3).

    Of more than 3 channels the first 3 become red, green and blue; 2 channels become red and green.
    """
    image = np.asarray(from_float(image))
    if image.shape[-1] == 2:
        image = np.concatenate([image, np.zeros_like(image[..., :1])], axis=-1)
    return image[..., : 3 if image.shape[-1] > 3 else None]


def picture(stored: np.ndarray, values: ValueRange) -> np.ndarray:
    """Renders stored values like `render`; uint8 images of 1 or 3 channels are returned as they are."""
    plain = values == UINT8 and stored.shape[-1] in (1, 3)
    return np.asarray(stored) if plain else render(to_float(stored, values))


def widest(dtypes) -> str:
    """Returns the dtype that holds the values of all `dtypes`; "uint8" if there are none."""
    return max(dtypes, key=DTYPES.index, default="uint8")


def stored_dtype(dtype: np.dtype) -> str | None:
    """Returns the one of DTYPES in which values of `dtype` are stored, or None if images cannot have it."""
    dtype = np.dtype(dtype)
    if dtype.kind in "bu" and dtype.itemsize <= 2:
        return f"uint{8 * dtype.itemsize}"
    return "float32" if dtype.kind in "iuf" else None


def to_stored(pixels: np.ndarray, name: str) -> np.ndarray:
    """Converts a file's values to one of DTYPES in the machine's byte order. Raises UserError on NaN or infinity."""
    if pixels.dtype == np.bool_:
        return pixels * np.uint8(255)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes the infinity that is refused
        pixels = np.asarray(pixels, stored_dtype(pixels.dtype))
    if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
        raise UserError(f"{name}: holds NaN or infinite values; replace them")
    return pixels


def rounded(pixels: np.ndarray, dtype: str | np.dtype) -> np.ndarray:
    """Converts floats to one of DTYPES: to integers by rounding and clipping, to float32 as they are."""
    if dtype == "float32":
        return pixels.astype(np.float32)
    return np.round(pixels).clip(0, np.iinfo(dtype).max).astype(dtype)


def convert(pixels: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """Converts stored values to another dtype: 8 bits to 16 by x257, 16 to 8 by /257; integers to equal floats.

    Raises UserError, which names the file, if floats are to become integers, as their scale is unknown.
    """
    if pixels.dtype == dtype or dtype == "float32":
        return pixels.astype(dtype, copy=False)
    if pixels.dtype == np.float32:
        raise UserError(
            f"{name}: holds floating-point values, where {dtype} is expected; save integers, or train with "
            "--config.input_dtype=float32 (--config.target_dtype for targets)"
        )
    if dtype == "uint16":
        return pixels.astype(np.uint16) * np.uint16(257)
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def fit_range(pixels: np.ndarray, dtype: str, limits: Sequence[float] | None, name: str) -> np.ndarray:
    """Converts a file's values, of one of DTYPES, to those of a stream, in training, evaluation and translation alike.

    If the file has another dtype, its whole range becomes the stream's range: 0 to 255 becomes -1 to 1. The exception
    is a float stream whose range is at least as wide as 8 bits: it takes integers as they are, for example 12 bits in
    files of 16. The limits None are the whole range of integers, and any range of floats.

    Raises:
      UserError: floats cannot become integers (`convert`); `name` is the file.
    """
    given = str(pixels.dtype)
    if given in (dtype, "float32") or not _is_spread(dtype, limits):
        return convert(pixels, dtype, name)
    low, high = limits
    return rounded(low + pixels * ((high - low) / _FULL[given][1]), dtype)


def _is_spread(dtype: str, limits: Sequence[float] | None) -> bool:
    """Returns whether `fit_range` spreads the values of another dtype's files over the range `limits`."""
    if dtype == "float32":
        return limits is not None and limits[1] - limits[0] < _FULL["uint8"][1]
    return limits is not None and tuple(limits) != _FULL[dtype]


def fitted(given: str, values: ValueRange) -> str:
    """Describes what `fit_range` does with files of the dtype `given`; "" if only the number of bits changes."""
    full = _FULL.get(given)
    if full is None or given == values.dtype or values.limits == full or values.limits == _FULL.get(values.dtype):
        return ""
    wanted = f"{given} values, where the model takes {values.dtype} from {values.low:g} to {values.high:g}: "
    if _is_spread(values.dtype, values.limits):
        return f"{wanted}0 to {full[1]:g} became {values.low:g} to {values.high:g}"
    return f"{wanted}taken as they are"


def fit_channels(pixels: np.ndarray, channels: int | None, name: str, *, alpha: bool = False) -> np.ndarray:
    """Converts (H, W, C) to (H, W, channels): repeats grey, weighs colour to grey (ITU-R BT.601), puts alpha on white.

    Of `channels`, 1 and 3 are made of grey or colour, another number must be the image's own, and None is its own.
    `alpha` tells whether the last channel is opacity.

    Raises:
      UserError: the image has another number of channels; `name` is the file.
    """
    own = pixels.shape[-1]
    if channels in (None, own):
        return pixels
    if channels not in (1, 3) or own - alpha not in (1, 3):
        raise wrong_channels(name, own)
    if alpha:
        pixels = _on_white(pixels)
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    return rounded(pixels.astype(np.float64) @ [0.299, 0.587, 0.114], pixels.dtype)[..., None]


def wrong_channels(name: str, own: int) -> UserError:
    return UserError(
        f"{name}: has {own} channel{'s' * (own != 1)}; set --config.input_channels={own} "
        f"(--config.target_channels={own} if it is a target)"
    )


def _on_white(pixels: np.ndarray) -> np.ndarray:
    white = np.iinfo(pixels.dtype).max if pixels.dtype != np.float32 else 1.0
    opacity = pixels[..., -1:].astype(np.float64) / white
    return rounded(pixels[..., :-1] * opacity + white * (1 - opacity), pixels.dtype)
