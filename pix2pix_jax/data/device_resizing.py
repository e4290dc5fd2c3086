"""Resizing on the device instead of the host, bit for bit like Pillow's bicubic resize with antialiasing.

Resizing takes two thirds of a host's time for a JPEG pair of 256 px; an accelerator does it in passing. Pillow computes
with integers (weights of 22 binary places, rounded to uint8 after each of two passes), so every device gives its
result.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pix2pix_jax.data.files import images
from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.runtime import meshes

_PLACES = 22
_SUPPORT = 2  # pixels of the cubic kernel to either side
_LARGEST = 8  # times as many pixels as at load size: more than that, resizing on the host saves memory and transfers


def defer(pairs: PairedDataset, mesh: Mesh) -> PairedDataset:
    """Leaves the resizing of `pairs` to the devices of `mesh` where that is faster.

    Several processes would have to agree on which batches to resize, so there the host does it.
    """
    if meshes.platform(mesh) == "cpu" or jax.process_count() > 1:
        return pairs
    return dataclasses.replace(pairs, own_size=shared_size(pairs))


def shared_size(pairs: PairedDataset) -> tuple[int, int] | None:
    """Returns the own (H, W) of the first example, in most sets of all; None if the device cannot resize from it."""
    plain = {pairs.input_interpolation, pairs.target_interpolation} == {"bicubic"}
    if pairs.preprocess != "resize_and_crop" or not plain or not len(pairs):
        return None
    height, width = size = pairs.decode(0)["target"].shape[:2]
    small = height * width <= _LARGEST * pairs.size[0] * pairs.size[1]
    return size if size != pairs.size and small and agrees(size, pairs.size) else None


def make_resize(size: tuple[int, int], mesh: Mesh) -> Callable[[dict[str, jax.Array]], dict[str, jax.Array]]:
    """Makes the function that resizes a batch on `mesh` to (H, W) `size`, if it has another."""
    resize_batch = functools.partial(jax.tree.map, functools.partial(resize, size=size))
    resize_all = jax.jit(resize_batch, out_shardings=meshes.batch_sharding(mesh))
    return lambda batch: batch if batch["target"].shape[1:3] == size else resize_all(batch)


def resize(pixels: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resizes uint8 (N, H, W, C) to uint8 (N, *size, C), each equal to `images.resize`."""
    return _resample(_resample(pixels, axis=2, count=size[1]), axis=1, count=size[0])


def agrees(given: tuple[int, int], size: tuple[int, int]) -> bool:
    """Returns whether `resize` from (H, W) `given` to `size` equals the installed Pillow's, by a test picture.

    Where the height shrinks, versions of Pillow differ in which pass comes first.
    """
    picture = np.random.default_rng(0).integers(0, 256, (*given, 3), np.uint8)
    return np.array_equal(jax.jit(resize, static_argnums=1)(picture[None], size)[0], images.resize(picture, size))


def _resample(pixels: jax.Array, *, axis: int, count: int) -> jax.Array:
    if pixels.shape[axis] == count:
        return pixels
    sources, weights = _taps(pixels.shape[axis], count)
    shape = [1] * pixels.ndim
    shape[axis] = count
    total = jnp.full((), 1 << (_PLACES - 1), jnp.int32)  # one half, which makes the shift below round
    for source, weight in zip(sources.T, weights.T, strict=True):
        total = total + jnp.take(pixels, source, axis=axis).astype(jnp.int32) * weight.reshape(shape)
    return jnp.clip(total >> _PLACES, 0, 255).astype(jnp.uint8)


def _taps(given: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the old pixels of each of `count` new ones, and their weights: int32 (count, taps) each."""
    ratio = given / count
    stretch = max(1.0, ratio)  # downwards the kernel widens, which is the antialiasing
    centres = (np.arange(count) + 0.5) * ratio
    first = np.maximum(0, (centres - _SUPPORT * stretch + 0.5).astype(int))
    end = np.minimum(given, (centres + _SUPPORT * stretch + 0.5).astype(int))
    sources = first[:, None] + np.arange((end - first).max())
    kernel = _cubic((sources - centres[:, None] + 0.5) * (1 / stretch)) * (sources < end[:, None])
    scaled = kernel * (1 / np.cumsum(kernel, axis=1)[:, -1:]) * 2**_PLACES  # as Pillow rounds, down to the last bit
    weights = np.trunc(scaled + np.copysign(0.5, scaled))  # rounds halves away from zero
    return np.minimum(sources, given - 1).astype(np.int32), weights.astype(np.int32)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Evaluates Keys' kernel with a = -1/2 (1981)."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))
