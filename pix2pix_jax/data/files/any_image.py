"""Turns a path, a PIL image or an array of any library into the array that a model takes."""

import os
from typing import Any, Protocol

import jax.dlpack
import jax.numpy as jnp
import numpy as np
from etils import epath
from PIL import Image

from pix2pix_jax.data.files import images
from pix2pix_jax.data.files.value_range import ValueRange, fit_range
from pix2pix_jax.errors import printable


class SupportsArray(Protocol):
    """An array of NumPy, JAX, PyTorch or another library that NumPy understands."""

    def __array__(self) -> np.ndarray: ...


class SupportsDLPack(Protocol):
    """An array of a library that shares its memory with others."""

    def __dlpack__(self, *, stream: Any = None) -> Any: ...

    def __dlpack_device__(self) -> Any: ...


AnyArray = SupportsArray | SupportsDLPack
AnyPath = str | os.PathLike[str]


def to_array(image: AnyPath | Image.Image | AnyArray, channels: int, values: ValueRange) -> np.ndarray:
    """Returns the pixels of a picture, or of several, as a NumPy array (H, W, C) or (N, H, W, C).

    Args:
      image: a path, a PIL image, or an array of any library. Files and PIL images are turned upright and get the dtype
        of `values` and `channels`, as training's files do. Arrays stay what they are, but floats become float32.
      channels: number of channels of the model's inputs.
      values: value range of the model's inputs. Where they are integers, floats must be in [-1, 1].

    Raises:
      ValueError: another number of dimensions or channels, or floats that are not finite or not in [-1, 1].
      UserError: no such file, or it is no image.
    """
    if isinstance(image, str | os.PathLike):
        path = epath.Path(image).expanduser()
        pixels, name = images.decode(path, channels=channels, dtype=None), printable(path)
        return fit_range(pixels, values.dtype, values.limits, name)
    if isinstance(image, Image.Image):
        name = "the PIL image"
        return fit_range(images.from_pillow(image, name, channels), values.dtype, values.limits, name)
    array = to_numpy(image)
    _check_shape(array.shape, channels)
    return _checked_floats(array, values) if jnp.issubdtype(array.dtype, jnp.floating) else array


def to_numpy(image: Any) -> np.ndarray:
    """Returns an array of any library as NumPy's. Raises ValueError for what is none."""
    for method in ("detach", "cpu"):  # a PyTorch tensor leaves its graph and its device by these alone
        image = getattr(image, method)() if hasattr(image, method) else image
    try:
        array = np.asarray(image)
    except TypeError:  # PyTorch's bfloat16, which NumPy lacks
        array = None
    if hasattr(image, "__dlpack__") and (array is None or array.dtype == object):
        array = np.asarray(jax.dlpack.from_dlpack(image))
    if array is None or array.dtype.kind in "OUS":
        kind = type(image).__name__
        if isinstance(image, list | tuple) and image:
            kind += f" of {type(image[0]).__name__}"
        raise ValueError(f"{kind}: must be one path or PIL image, or an array; take several one by one")
    return array


def _check_shape(shape: tuple[int, ...], channels: int) -> None:
    if len(shape) in (3, 4) and shape[-1] == channels and min(shape[-3:]):
        return
    first = len(shape) in (3, 4) and shape[-3] == channels
    hint = "; channels come last: tensor.movedim(-3, -1), np.moveaxis(array, -3, -1)" if first else ""
    raise ValueError(f"images of shape {shape}: must be (N, H, W, {channels}) or (H, W, {channels}){hint}")


def _checked_floats(array: np.ndarray, values: ValueRange) -> np.ndarray:
    """Converts floats to float32, and clips rounding errors outside [-1, 1] where the model's inputs are integers."""
    rounding = max(1e-5, 4 * float(jnp.finfo(array.dtype).eps))
    array = array.astype(np.float32)
    if not array.size:
        return array
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        finite = array[np.isfinite(array)]
        beside = f", beside values from {finite.min():g} to {finite.max():g}" if finite.size else ""
        raise ValueError(f"images hold NaN or infinity{beside}: all must be finite")
    if not values.is_integer:
        return array
    if low < -1 - rounding or high > 1 + rounding:
        raise ValueError(
            f"images hold values from {low:g} to {high:g}: floating ones must be in [-1, 1]; "
            f"scale them, or give {values.dtype} in [0, {np.iinfo(values.dtype).max}]"
        )
    return array.clip(-1, 1)
