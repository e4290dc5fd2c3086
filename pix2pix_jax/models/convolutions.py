"""Convolutions of the pix2pix networks: parameters as published, computed in the form that is fast on the platform.

Kernels are stored HWIO at their mathematical size, as (4, 4, in, out), whatever form the computation takes, and
initialised by N(0, 0.02) (Isola et al. 2017, section 6.2).
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from pix2pix_jax.models.remat import keep

kernel_init = nn.initializers.normal(0.02)
PADDINGS = ("zero", "reflect")

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def down_conv(x: jax.Array, kernel: jax.Array, *, padding: str = "zero") -> jax.Array:
    """4x4 or 3x3 convolution, stride 2, padding 1: (N, H, W, I) -> (N, H // 2, W // 2, O); H, W are even for 3x3.

    Computed in the form that is fast on the platform it is lowered for; the result is that of the plain convolution.
    """
    x, pad = _reflected(x, 1, padding)
    return _by_platform(_down_conv_matmul, _down_conv_plain, x, kernel, pad=pad)


def up_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """4x4 or 3x3 transposed convolution, stride 2: (N, H, W, I) -> (N, 2H, 2W, O).

    PyTorch's ConvTranspose2d(k=4, s=2, p=1) and (k=3, s=2, p=1, output_padding=1) store the same kernels rotated by 180
    degrees; for 4x4 it is `flax.linen.ConvTranspose(..., (4, 4), (2, 2), "SAME")`.
    """
    return _by_platform(_up_conv_matmul, _up_conv_plain, x, kernel)


def flat_conv(x: jax.Array, kernel: jax.Array, *, pad: int = 1, padding: str = "zero") -> jax.Array:
    """k x k convolution, stride 1: (N, H, W, I) -> (N, H', W', O) with H' = H + 2 pad + 1 - k."""
    x, pad = _reflected(x, pad, padding)
    return _by_platform(_flat_conv_matmul, _flat_conv_plain, x, kernel, pad=pad)


def _reflected(x: jax.Array, pad: int, padding: str) -> tuple[jax.Array, int]:
    """(x with the padding that is not of zeros, how many zeros are still to be added at each side)."""
    return (x, pad) if padding == "zero" else (_pad(x, pad, mode="reflect"), 0)


def _pad(x: jax.Array, pad: int, mode: str = "constant") -> jax.Array:
    return jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=mode)


def _by_platform(on_cpu: Callable, elsewhere: Callable, x: jax.Array, kernel: jax.Array, **options: int) -> jax.Array:
    on_cpu, elsewhere = functools.partial(on_cpu, **options), functools.partial(elsewhere, **options)
    return lax.platform_dependent(x, kernel, cpu=on_cpu, default=elsewhere)


def _flat_conv_plain(x: jax.Array, kernel: jax.Array, *, pad: int) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), [(pad, pad)] * 2, dimension_numbers=_DIMENSIONS)


def _down_conv_plain(x: jax.Array, kernel: jax.Array, *, pad: int) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (2, 2), [(pad, pad)] * 2, dimension_numbers=_DIMENSIONS)


@jax.custom_vjp
def _up_conv_plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    before = kernel.shape[0] - 2
    return lax.conv_general_dilated(
        x, kernel, (1, 1), [(before, 2)] * 2, lhs_dilation=(2, 2), dimension_numbers=_DIMENSIONS
    )


def _up_conv_gradient(operands: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    """As that of the strided convolution whose transpose this is.

    The gradient of the kernel that JAX derives from the dilated form is the same, but where images are sharded by rows
    XLA first brings all rows of both operands to every device, and each then does the work of all.
    """
    x, kernel = operands
    x_gradient, pull_back = jax.vjp(lambda k: _down_conv_plain(gradient, k, pad=1), _transposed(kernel))
    return x_gradient, _transposed(*pull_back(x))


def _transposed(kernel: jax.Array) -> jax.Array:
    return kernel[::-1, ::-1].swapaxes(2, 3)


_up_conv_plain.defvjp(lambda x, kernel: (_up_conv_plain(x, kernel), (x, kernel)), _up_conv_gradient)


# XLA's CPU backend computes the gradients of convolutions by general paths that are up to 60 times slower than its
# matrix product (benchmarks/README.md). As slices and matrix products, gradients are slices and
# matrix products again. A tap a of the kernel's 4 is 2A + p: p the parity of the pixel it falls on at the large side, A
# the offset at the small side. Rows and columns are treated one after the other, which takes few and cheap operations.
# A 3x3 kernel is a 4x4 one whose last tap (the first, as transposed ones are stored rotated) is zero.


def _flat_conv_matmul(x: jax.Array, kernel: jax.Array, *, pad: int) -> jax.Array:
    size = kernel.shape[0]
    if size > 4:  # 49 copies of the input take longer than XLA's own gradient
        return _flat_conv_plain(x, kernel, pad=pad)
    x = _pad(x, pad)
    n, h, w, c = x.shape
    h, w = h + 1 - size, w + 1 - size
    x = jnp.stack([x[:, :, b : b + w] for b in range(size)], axis=3)
    x = jnp.stack([x[:, a : a + h] for a in range(size)], axis=3)  # (n, h, w, size, size, c)
    taps = size * size * c
    return (x.reshape(n * h * w, taps) @ kernel.reshape(taps, -1)).reshape(n, h, w, -1)


def _down_conv_matmul(x: jax.Array, kernel: jax.Array, *, pad: int) -> jax.Array:
    """Gathers each output pixel's 16 taps into a row, in the kernel's own order so that the kernel is never copied."""
    kernel = _as_4x4(kernel, after=True)
    x = _pad(x, pad)
    n, h, w, c = x.shape
    h, w = h // 2 - 1, w // 2 - 1
    x = x[:, : 2 * h + 2, : 2 * w + 2]  # of an odd number of rows, the last is not looked at
    x = x.reshape(n, h + 1, 2, w + 1, 2, c)
    x = jnp.concatenate([x[:, :, :, :-1], x[:, :, :, 1:]], axis=4)  # the 4 columns from each even one
    x = jnp.concatenate([x[:, :-1], x[:, 1:]], axis=2)  # and the 4 rows: (n, h, 4, w, 4, c)
    rows = x.transpose(0, 1, 3, 2, 4, 5).reshape(n * h * w, 16 * c)
    return (rows @ kernel.reshape(16 * c, -1)).reshape(n, h, w, -1)


def _as_4x4(kernel: jax.Array, *, after: bool) -> jax.Array:
    missing = 4 - kernel.shape[0]
    side = (0, missing) if after else (missing, 0)
    return jnp.pad(kernel, (side, side, (0, 0), (0, 0))) if missing else kernel


# Below this many input pixels the kernel is the larger operand, and reordering it costs more than the product itself.
_FEW_PIXELS = 64


def _up_conv_matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    kernel = _as_4x4(kernel, after=False)
    n, h, w, _ = x.shape
    return _up_conv_gather(x, kernel) if n * h * w <= _FEW_PIXELS else _up_conv_scatter(x, kernel)


def _up_conv_gather(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Each of the 2x2 output phases is a 2x2 convolution of the input: four products with slices of the kernel."""
    n, h, w, c = x.shape
    x = _pad(x, 1)

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


class _Convolution(nn.Module):
    """Parameters of a convolution: `kernel` (size, size, in, features) and, with `use_bias`, `bias` (features,)."""

    features: int
    size: int = 4
    use_bias: bool = True
    dtype: Any = None  # of the computation; parameters stay float32

    def convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        raise NotImplementedError

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", kernel_init, (self.size, self.size, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = keep(self.convolve(x, kernel))
        return y if bias is None else y + bias.reshape(1, 1, 1, -1)


class DownConv(_Convolution):
    """Convolution of stride 2, padding 1: (N, H, W, C) -> (N, H/2, W/2, features)."""

    padding: str = "zero"

    def convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return down_conv(x, kernel, padding=self.padding)


class UpConv(_Convolution):
    """Transposed convolution of stride 2: (N, H, W, C) -> (N, 2H, 2W, features)."""

    def convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return up_conv(x, kernel)


class Conv(_Convolution):
    """Convolution of stride 1: (N, H, W, C) -> (N, H', W', features) with H' = H + 2 pad + 1 - size."""

    pad: int = 1
    padding: str = "zero"

    def convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return flat_conv(x, kernel, pad=self.pad, padding=self.padding)
