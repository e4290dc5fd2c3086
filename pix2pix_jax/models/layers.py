"""Building blocks of the pix2pix networks: 4x4 convolutions and normalisation.

Kernels are stored HWIO at their mathematical size (4, 4, in, out), whatever form the computation takes. The published
initialisation (Isola et al. 2017, section 6.2) is N(0, 0.02) for kernels and N(1, 0.02) for normalisation scales.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

kernel_init = nn.initializers.normal(0.02)
LEAKY_SLOPE = 0.2


def scale_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """N(1, 0.02), the published initialisation of normalisation scales."""
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


def leaky_relu(x: jax.Array) -> jax.Array:
    return nn.leaky_relu(x, LEAKY_SLOPE)


_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def down_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """4x4 convolution, stride 2, padding 1: (N, H, W, I) with even H, W -> (N, H/2, W/2, O).

    Computed in the form that is fast on the platform it is lowered for; the result is that of the plain convolution.
    """
    return lax.platform_dependent(x, kernel, cpu=_down_conv_matmul, default=_down_conv_plain)


def up_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """4x4 transposed convolution, stride 2, padding 1: (N, H, W, I) -> (N, 2H, 2W, O).

    Equals `flax.linen.ConvTranspose(..., (4, 4), (2, 2), "SAME")`; PyTorch's ConvTranspose2d(k=4, s=2, p=1) stores the
    same kernel rotated by 180 degrees.
    """
    return lax.platform_dependent(x, kernel, cpu=_up_conv_matmul, default=_up_conv_plain)


def flat_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """4x4 convolution, stride 1, padding 1: (N, H, W, I) -> (N, H-1, W-1, O)."""
    return lax.platform_dependent(x, kernel, cpu=_flat_conv_matmul, default=_flat_conv_plain)


def _flat_conv_plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=_DIMENSIONS)


def _down_conv_plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=_DIMENSIONS)


def _up_conv_plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=_DIMENSIONS)


# XLA's CPU backend computes the gradients of convolutions by general paths that are up to 60 times slower than its
# matrix product (benchmarks/README.md). As slices and matrix products, gradients are slices and
# matrix products again. A tap a of the kernel's 4 is 2A + p: p the parity of the pixel it falls on at the large side, A
# the offset at the small side. Rows and columns are treated one after the other, which takes few and cheap operations.


def _pad_1(x: jax.Array) -> jax.Array:
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _flat_conv_matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    n, h, w, c = x.shape
    h, w = h - 1, w - 1
    x = _pad_1(x)
    x = jnp.stack([x[:, :, b : b + w] for b in range(4)], axis=3)
    x = jnp.stack([x[:, a : a + h] for a in range(4)], axis=3)  # (n, h, w, 4, 4, c)
    return (x.reshape(n * h * w, 16 * c) @ kernel.reshape(16 * c, -1)).reshape(n, h, w, -1)


def _down_conv_matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Gathers each output pixel's 16 taps into a row, in the kernel's own order so that the kernel is never copied."""
    n, h, w, c = x.shape
    h, w = h // 2, w // 2
    x = _pad_1(x).reshape(n, h + 1, 2, w + 1, 2, c)
    x = jnp.concatenate([x[:, :, :, :-1], x[:, :, :, 1:]], axis=4)  # the 4 columns from each even one
    x = jnp.concatenate([x[:, :-1], x[:, 1:]], axis=2)  # and the 4 rows: (n, h, 4, w, 4, c)
    rows = x.transpose(0, 1, 3, 2, 4, 5).reshape(n * h * w, 16 * c)
    return (rows @ kernel.reshape(16 * c, -1)).reshape(n, h, w, -1)


# Below this many input pixels the kernel is the larger operand, and reordering it costs more than the product itself.
_FEW_PIXELS = 64


def _up_conv_matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    n, h, w, _ = x.shape
    return _up_conv_gather(x, kernel) if n * h * w <= _FEW_PIXELS else _up_conv_scatter(x, kernel)


def _up_conv_gather(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Each of the 2x2 output phases is a 2x2 convolution of the input: four products with slices of the kernel."""
    n, h, w, c = x.shape
    x = _pad_1(x)

    def phase(p: int, q: int) -> jax.Array:
        taps = [x[:, p + a : p + a + h, q + b : q + b + w] for a in (0, 1) for b in (0, 1)]
        rows = jnp.concatenate(taps, axis=-1).reshape(n * h * w, 4 * c)
        return (rows @ kernel[p::2, q::2].reshape(4 * c, -1)).reshape(n, h, w, -1)

    phases = jnp.stack([jnp.stack([phase(p, q) for q in (0, 1)], axis=3) for p in (0, 1)], axis=2)
    return phases.reshape(n, 2 * h, 2 * w, -1)


def _up_conv_scatter(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """One product gives every input pixel's 4x4 patch of the output; overlapping patches are added."""
    n, h, w, c = x.shape
    taps = kernel[::-1, ::-1].transpose(2, 0, 1, 3).reshape(c, -1)
    x = (x.reshape(n * h * w, c) @ taps).reshape(n, h, w, 2, 2, 4, -1)
    x = _add_shifted(x[:, :, :, 0], x[:, :, :, 1], axis=1)  # rows: (n, h + 1, w, 2, 4, o)
    x = _add_shifted(x[..., :2, :], x[..., 2:, :], axis=2)  # columns: (n, h + 1, w + 1, 2, 2, o)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h + 2, 2 * w + 2, -1)
    return x[:, 1:-1, 1:-1]


def _add_shifted(x: jax.Array, y: jax.Array, axis: int) -> jax.Array:
    """x + y with y moved on by one along `axis`, which grows by one."""
    after = [(0, 0)] * x.ndim
    before = [(0, 0)] * x.ndim
    after[axis], before[axis] = (0, 1), (1, 0)
    return jnp.pad(x, after) + jnp.pad(y, before)


class _Conv4x4(nn.Module):
    """Parameters of a 4x4 convolution: `kernel` (4, 4, in, out) and, with `use_bias`, `bias` (out,)."""

    features: int
    use_bias: bool = True
    dtype: Any = None  # of the computation; parameters stay float32

    def convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        raise NotImplementedError

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", kernel_init, (4, 4, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = self.convolve(x, kernel)
        return y if bias is None else y + bias.reshape(1, 1, 1, -1)


class DownConv(_Conv4x4):
    """4x4 convolution, stride 2, padding 1: (N, H, W, C) -> (N, H/2, W/2, features)."""

    def convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return down_conv(x, kernel)


class UpConv(_Conv4x4):
    """4x4 transposed convolution, stride 2, padding 1: (N, H, W, C) -> (N, 2H, 2W, features)."""

    def convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return up_conv(x, kernel)


class Conv(_Conv4x4):
    """4x4 convolution, stride 1, padding 1: (N, H, W, C) -> (N, H-1, W-1, features)."""

    def convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return flat_conv(x, kernel)


class BatchNorm(nn.Module):
    """Batch normalisation with PyTorch's conventions, which the published models use.

    Statistics are computed in float32 over N, H, W (under jit: of the global batch). The running variance takes the
    unbiased estimate, unlike `flax.linen.BatchNorm`; running = 0.9 running + 0.1 batch.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
        features = x.shape[-1]
        scale = self.param("scale", scale_init, (features,))
        bias = self.param("bias", nn.initializers.zeros, (features,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (features,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (features,))
        if use_running_average:
            mean, var = running_mean.value, running_var.value
        else:
            mean, var = _moments(x, axes=(0, 1, 2))
            if not self.is_initializing():
                count = x.size // features
                unbiased = var * (count / max(count - 1, 1))
                running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
                running_var.value = self.momentum * running_var.value + (1 - self.momentum) * unbiased
        factor = lax.rsqrt(var + self.epsilon) * scale
        return _affine(x, factor, bias - mean * factor, self.dtype)


class InstanceNorm(nn.Module):
    """Normalises each image and channel over H, W; no parameters and no running statistics, as published."""

    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
        del use_running_average  # it has none
        mean, var = _moments(x, axes=(1, 2))
        factor = lax.rsqrt(var + self.epsilon)
        return _affine(x, factor, -mean * factor, self.dtype)


def _moments(x: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance in float32; in two passes, as E[x^2] - E[x]^2 cancels for flat channels."""
    x = x.astype(jnp.float32)
    keep = len(axes) < 3  # statistics per image must broadcast against (N, H, W, C)
    mean = x.mean(axes, keepdims=True)
    var = jnp.square(x - mean).mean(axes, keepdims=True)
    return (mean, var) if keep else (mean.reshape(-1), var.reshape(-1))


def _affine(x: jax.Array, factor: jax.Array, offset: jax.Array, dtype: Any) -> jax.Array:
    if factor.ndim == 1:
        factor, offset = factor.reshape(1, 1, 1, -1), offset.reshape(1, 1, 1, -1)
    return (x.astype(jnp.float32) * factor + offset).astype(dtype or x.dtype)


NORMS = {"batch": BatchNorm, "instance": InstanceNorm, "none": None}


def normalize(x: jax.Array, norm: str, *, use_running_average: bool, dtype: Any = None) -> jax.Array:
    """Applies the norm called `norm` (a key of NORMS) inside a compact module."""
    if NORMS[norm] is None:
        return x
    return NORMS[norm](dtype=dtype)(x, use_running_average=use_running_average)


def needs_bias(norm: str) -> bool:
    """Published rule: a convolution has a bias unless BatchNorm's own bias follows it."""
    return norm != "batch"
