"""The convolution layers of the networks: published parameters, computed in the form that is fast on the platform.

Kernels are stored HWIO at their mathematical size, as (4, 4, in, out), whatever form the computation takes, and
initialised by N(0, 0.02) (Isola et al. 2017, section 6.2).
"""

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import lax

from pix2pix_jax.models.convolutions import gpu, matmul, plain
from pix2pix_jax.models.convolutions.matmul import pad_image
from pix2pix_jax.models.initialization import normal
from pix2pix_jax.models.remat import keep

kernel_init = normal(0.02)
PADDINGS = ("zero", "reflect")

_platform: contextvars.ContextVar[str | None] = contextvars.ContextVar("platform", default=None)


@contextlib.contextmanager
def traced_for(platform: str | None) -> Iterator[None]:
    """Traces the convolutions within it in the form for one platform: "cpu", "gpu", or "default" for all others.

    Without it, or for None, all three forms are traced and lowering picks one, which takes three times as long. Enter
    it inside the traced function, for example by decorating that function, because JAX may use a trace again for a
    later call.
    """
    token = _platform.set(platform)
    try:
        yield
    finally:
        _platform.reset(token)


def down_conv(x: jax.Array, kernel: jax.Array, *, padding: str = "zero") -> jax.Array:
    """Convolves by a 4x4 or 3x3 kernel with stride 2 and padding 1.

    (N, H, W, I) -> (N, H // 2, W // 2, O); for 3x3, H and W are even. Every form gives the result of the plain one.
    """
    x, pad = _reflected(x, 1, padding)
    return _convolve("down", _platform.get(), x, kernel, pad=pad)


def up_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves by a transposed 4x4 or 3x3 kernel with stride 2: (N, H, W, I) -> (N, 2H, 2W, O).

    PyTorch's ConvTranspose2d(k=4, s=2, p=1) and (k=3, s=2, p=1, output_padding=1) store the same kernels rotated by 180
    degrees; for 4x4 it is `flax.linen.ConvTranspose(..., (4, 4), (2, 2), "SAME")`.
    """
    return _convolve("up", _platform.get(), x, kernel)


def flat_conv(x: jax.Array, kernel: jax.Array, *, pad: int = 1, padding: str = "zero") -> jax.Array:
    """Convolves by a k x k kernel with stride 1: (N, H, W, I) -> (N, H', W', O) with H' = H + 2 pad + 1 - k."""
    x, pad = _reflected(x, pad, padding)
    return _convolve("flat", _platform.get(), x, kernel, pad=pad)


def _reflected(x: jax.Array, pad: int, padding: str) -> tuple[jax.Array, int]:
    """Returns (x, padded unless the padding is zeros, number of zeros still to be added at each side)."""
    return (x, pad) if padding == "zero" else (pad_image(x, pad, mode="reflect"), 0)


_FORMS = {  # convolution -> platform -> the function that computes it there
    "down": {"cpu": matmul.down_conv, "gpu": gpu.down_conv, "default": plain.down_conv},
    "up": {"cpu": matmul.up_conv, "gpu": gpu.up_conv, "default": plain.up_conv},
    "flat": {"cpu": matmul.flat_conv, "gpu": gpu.flat_conv, "default": plain.flat_conv},
}


# jit here only makes JAX trace a convolution once instead of in every pass and program; the caller's jit compiles it.
@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames="pad")
def _convolve(name: str, platform: str | None, x: jax.Array, kernel: jax.Array, **options: int) -> jax.Array:
    """Computes the convolution `name` in the form for the platform; for None, the forms of all."""
    forms = {form: functools.partial(convolve, **options) for form, convolve in _FORMS[name].items()}
    if platform is None:
        gpus = forms.pop("gpu")
        return lax.platform_dependent(x, kernel, **forms, cuda=gpus, rocm=gpus)
    return forms.get(platform, forms["default"])(x, kernel)


class Convolution(nn.Module):
    """Holds the parameters of a convolution: `kernel` (size, size, in, features) and `bias` (features,), if any."""

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
        x, kernel, _ = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = keep(self.convolve(x, kernel))
        if bias is None:
            return y
        # In float32, because the gradient of the bias is a sum over all pixels.
        return (y.astype(jnp.float32) + bias.reshape(1, 1, 1, -1)).astype(y.dtype)


class DownConv(Convolution):
    """Convolves with stride 2 and padding 1: (N, H, W, C) -> (N, H/2, W/2, features)."""

    padding: str = "zero"

    def convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return down_conv(x, kernel, padding=self.padding)


class UpConv(Convolution):
    """Convolves, transposed, with stride 2: (N, H, W, C) -> (N, 2H, 2W, features)."""

    def convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return up_conv(x, kernel)


class Conv(Convolution):
    """Convolves with stride 1: (N, H, W, C) -> (N, H', W', features) with H' = H + 2 pad + 1 - size."""

    pad: int = 1
    padding: str = "zero"

    def convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return flat_conv(x, kernel, pad=self.pad, padding=self.padding)
