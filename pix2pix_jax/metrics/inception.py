"""The Inception network of FID, which computes features of images.

It is Inception v3 (Szegedy et al. 2015) of TensorFlow's graph of 2015-12-05, by which published scores are computed, as
pytorch-fid ported it. Unlike torchvision's, its average pools leave out the padding, and its last block has a max pool.

Layers have pytorch-fid's names. There each is a convolution without bias, batch norm and ReLU; here the norm, whose
statistics are fixed, is folded into the convolution (`fold`).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import lax
from PIL import Image

SIZE = 299  # pixels a side
_EPSILON = 1e-3  # batch norm's
_NORM = ("weight", "bias", "running_mean", "running_var")
# Accelerators' default precision has 8 to 10 bits of mantissa, too few to compare features.
_PRECISION = lax.Precision.HIGHEST
_Kernel = tuple[int, int]


def _layer(x: jax.Array, name: str, features: int, kernel: _Kernel = (1, 1), **options: Any) -> jax.Array:
    """Applies a convolution and ReLU, inside a compact method."""
    return nn.relu(nn.Conv(features, kernel, precision=_PRECISION, name=name, **options)(x))


def _chain(x: jax.Array, name: str, *layers: tuple[int, _Kernel]) -> jax.Array:
    """Applies the layers NAME_1, NAME_2 and so on, of the given features and kernels."""
    for number, (features, kernel) in enumerate(layers, 1):
        x = _layer(x, f"{name}_{number}", features, kernel)
    return x


_average = functools.partial(nn.avg_pool, window_shape=(3, 3), padding="SAME", count_include_pad=False)
_maximum = functools.partial(nn.max_pool, window_shape=(3, 3), padding="SAME")
_shrink = functools.partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2))


class _Block(nn.Module):
    """Concatenates the branches that a function makes of the input; its layers' names are below the block's."""

    branches: Callable[[jax.Array], Sequence[jax.Array]]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.concatenate(self.branches(x), -1)


def _block_a(x: jax.Array, *, pool_features: int) -> Sequence[jax.Array]:
    """Makes the branches of a block at 35x35 pixels."""
    return (
        _layer(x, "branch1x1", 64),
        _chain(x, "branch5x5", (48, (1, 1)), (64, (5, 5))),
        _chain(x, "branch3x3dbl", (64, (1, 1)), (96, (3, 3)), (96, (3, 3))),
        _layer(_average(x), "branch_pool", pool_features),
    )


def _block_b(x: jax.Array) -> Sequence[jax.Array]:
    """Makes the branches of the block from 35x35 to 17x17 pixels."""
    double = _chain(x, "branch3x3dbl", (64, (1, 1)), (96, (3, 3)))
    return (
        _layer(x, "branch3x3", 384, (3, 3), strides=2, padding="VALID"),
        _layer(double, "branch3x3dbl_3", 96, (3, 3), strides=2, padding="VALID"),
        _shrink(x),
    )


def _block_c(x: jax.Array, *, width: int) -> Sequence[jax.Array]:
    """Makes the branches of a block at 17x17 pixels, with 7x7 kernels factored into 1x7 and 7x1."""
    return (
        _layer(x, "branch1x1", 192),
        _chain(x, "branch7x7", (width, (1, 1)), (width, (1, 7)), (192, (7, 1))),
        _chain(x, "branch7x7dbl", (width, (1, 1)), (width, (7, 1)), (width, (1, 7)), (width, (7, 1)), (192, (1, 7))),
        _layer(_average(x), "branch_pool", 192),
    )


def _block_d(x: jax.Array) -> Sequence[jax.Array]:
    """Makes the branches of the block from 17x17 to 8x8 pixels."""
    wide = _chain(x, "branch7x7x3", (192, (1, 1)), (192, (1, 7)), (192, (7, 1)))
    return (
        _layer(_layer(x, "branch3x3_1", 192), "branch3x3_2", 320, (3, 3), strides=2, padding="VALID"),
        _layer(wide, "branch7x7x3_4", 192, (3, 3), strides=2, padding="VALID"),
        _shrink(x),
    )


def _block_e(x: jax.Array, *, pool: Callable[[jax.Array], jax.Array]) -> Sequence[jax.Array]:
    """Makes the branches of a block at 8x8 pixels."""
    single = _layer(x, "branch3x3_1", 384)
    double = _chain(x, "branch3x3dbl", (448, (1, 1)), (384, (3, 3)))
    return (
        _layer(x, "branch1x1", 320),
        _layer(single, "branch3x3_2a", 384, (1, 3)),
        _layer(single, "branch3x3_2b", 384, (3, 1)),
        _layer(double, "branch3x3dbl_3a", 384, (1, 3)),
        _layer(double, "branch3x3dbl_3b", 384, (3, 1)),
        _layer(pool(x), "branch_pool", 192),
    )


class Inception(nn.Module):
    """Maps float32 (N, 299, 299, 3) in [-1, 1] to features, float32 (N, 2048)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = _layer(x, "Conv2d_1a_3x3", 32, (3, 3), strides=2, padding="VALID")
        x = _layer(x, "Conv2d_2a_3x3", 32, (3, 3), padding="VALID")
        x = _shrink(_layer(x, "Conv2d_2b_3x3", 64, (3, 3)))
        x = _layer(x, "Conv2d_3b_1x1", 80)
        x = _shrink(_layer(x, "Conv2d_4a_3x3", 192, (3, 3), padding="VALID"))
        for name, features in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = _Block(functools.partial(_block_a, pool_features=features), name=name)(x)
        x = _Block(_block_b, name="Mixed_6a")(x)
        for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
            x = _Block(functools.partial(_block_c, width=width), name=name)(x)
        x = _Block(_block_d, name="Mixed_7a")(x)
        for name, pool in (("Mixed_7b", _average), ("Mixed_7c", _maximum)):
            x = _Block(functools.partial(_block_e, pool=pool), name=name)(x)
        return x.mean((1, 2))


def shapes() -> dict[str, tuple[int, ...]]:
    """Returns name -> shape of the arrays that the network needs of pytorch-fid's file: OIHW kernels and norms."""
    variables = jax.eval_shape(Inception().init, jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)))
    answer = {}
    for (*layer, kind), array in traverse_util.flatten_dict(variables["params"]).items():
        if kind == "kernel":
            height, width, inputs, outputs = array.shape
            answer[".".join((*layer, "conv.weight"))] = (outputs, inputs, height, width)
            answer |= {".".join((*layer, "bn", name)): (outputs,) for name in _NORM}
    return answer


def fold(weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Converts pytorch-fid's arrays to the network's variables, in float64, rounded to float32 at the end."""
    params = {}
    for layer in (name.removesuffix(".conv.weight") for name in weights if name.endswith(".conv.weight")):
        scale, bias, mean, variance = (weights[f"{layer}.bn.{name}"].astype(np.float64) for name in _NORM)
        scale = scale / np.sqrt(variance + _EPSILON)
        kernel = weights[f"{layer}.conv.weight"].transpose(2, 3, 1, 0) * scale
        params[f"{layer}.kernel"] = kernel.astype(np.float32)
        params[f"{layer}.bias"] = (bias - mean * scale).astype(np.float32)
    return {"params": traverse_util.unflatten_dict(params, sep=".")}


def resize_as_pytorch_fid(pictures: jax.Array) -> jax.Array:
    """Resizes bilinearly without antialiasing: uint8 (N, H, W, 3) -> float32 (N, 299, 299, 3) in [-1, 1]."""
    pixels = pictures.astype(jnp.float32)
    for axis in (1, 2):
        # Places are float64, where jax.image has float32.
        place = ((np.arange(SIZE) + 0.5) * pixels.shape[axis] / SIZE - 0.5).clip(0)
        low = place.astype(int)
        high = np.minimum(low + 1, pixels.shape[axis] - 1)
        weight = (place - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(4)])
        pixels = jnp.take(pixels, low, axis) * (1 - weight) + jnp.take(pixels, high, axis) * weight
    return pixels / 127.5 - 1


def resize_as_clean_fid(pictures: np.ndarray) -> np.ndarray:
    """Resizes as Parmar et al. (2022): uint8 (N, H, W, 3) -> float32 (N, 299, 299, 3) in [-1, 1).

    It is Pillow's bicubic with antialiasing, channel by channel in float, clipped to [0, 255]; 128 becomes 0.
    """
    resized = np.empty((len(pictures), SIZE, SIZE, 3), np.float32)
    for picture, place in zip(pictures, resized, strict=True):
        for channel in range(3):
            plane = Image.fromarray(picture[..., channel].astype(np.float32))
            place[..., channel] = plane.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return (resized.clip(0, 255) - 128) / 128
