"""The norms of the pix2pix networks, with the conventions of PyTorch, which the published models use."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from pix2pix_jax.models.initialization import normal
from pix2pix_jax.models.remat import keep

NORMS = ("batch", "instance", "group", "none")
_MAX_GROUPS = 32  # Wu and He 2018


class BatchNorm(nn.Module):
    """Normalises each channel over the batch.

    Statistics are computed in float32 over N, H, W; under jit these are of the global batch. Unlike
    `flax.linen.BatchNorm`, the running variance is an average of unbiased estimates.

    Attributes:
      epsilon: number added to the variance.
      momentum: running = momentum * running + (1 - momentum) * batch.
      scale_std: standard deviation of the initial scales, whose mean is 1; 0.02 as published.
      dtype: dtype of the result (None: that of the input).
    """

    epsilon: float = 1e-5
    momentum: float = 0.9
    scale_std: float = 0.02
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
        features = x.shape[-1]
        scale = self.param("scale", scale_init(self.scale_std), (features,))
        bias = self.param("bias", nn.initializers.zeros, (features,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (features,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (features,))
        dtype = self.dtype or x.dtype
        if use_running_average:
            factor = lax.rsqrt(running_var.value + self.epsilon) * scale
            return _affine(x, running_mean.value, factor, bias, dtype)
        y, mean, var = _standardise(x, scale, bias, (0, 1, 2), self.epsilon, dtype)  # pyright: ignore
        if not self.is_initializing():
            count = x.size // features
            unbiased = var.reshape(-1) * (count / max(count - 1, 1))
            running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean.reshape(-1)
            running_var.value = self.momentum * running_var.value + (1 - self.momentum) * unbiased
        return y


class InstanceNorm(nn.Module):
    """Normalises each channel of each image over H, W; it has no parameters and no running statistics."""

    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        ones, zeros = jnp.ones(x.shape[-1]), jnp.zeros(x.shape[-1])
        return _standardise(x, ones, zeros, (1, 2), self.epsilon, self.dtype or x.dtype)[0]  # pyright: ignore


def scale_init(std: float) -> nn.initializers.Initializer:
    """Returns an initialiser that draws from N(1, std); the published scales have std 0.02."""
    return normal(std, mean=1.0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _standardise_vjp(
    x: jax.Array, scale: jax.Array, bias: jax.Array, axes: tuple[int, ...], epsilon: float, dtype: Any
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns (x (N, H, W, C) normalised over `axes`, mean, biased variance), the moments (N or 1, 1, 1, C).

    The gradient is written out. Autodiff's gradient has two sums, one waiting for the other, which on a pod are two
    all-reduces for each norm. The returned moments pass no gradient on.
    """
    return _standardise_forward(x, scale, bias, axes, epsilon, dtype)[0]


def _standardise_forward(x, scale, bias, axes, epsilon, dtype):
    # Not a call of _standardise: penalties of gradients differentiate this, and need the gradient of the moments too.
    mean, var = _moments(x, axes)
    factor = lax.rsqrt(var + epsilon)
    y = _affine(x, mean, factor * _per_channel(scale), bias, dtype)
    return (y, mean, var), (x, scale, mean, factor)


def _standardise_backward(axes, epsilon, dtype, residuals, gradients):
    """Computes dx = scale / std * (dy - mean(dy) - n * mean(dy * n)) with n = (x - mean) / std, means over `axes`."""
    x, scale, mean, factor = residuals
    dy = gradients[0].astype(jnp.float32)
    normalised = (x.astype(jnp.float32) - mean) * factor
    dy_sum = dy.sum(axes, keepdims=True)
    product_sum = (dy * normalised).sum(axes, keepdims=True)
    count = math.prod(x.shape[axis] for axis in axes)
    dx = factor * _per_channel(scale) * (dy - dy_sum / count - normalised * (product_sum / count))
    return dx.astype(x.dtype), product_sum.sum((0, 1, 2)), dy_sum.sum((0, 1, 2))


_standardise_vjp.defvjp(_standardise_forward, _standardise_backward)
_standardise = jax.jit(_standardise_vjp, static_argnums=(3, 4, 5))  # so JAX traces it once for all layers of a shape


def _moments(x: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Returns mean and biased variance in float32, in two passes, as E[x^2] - E[x]^2 cancels for flat channels."""
    x = x.astype(jnp.float32)
    mean = keep(x.mean(axes, keepdims=True))
    return mean, keep(jnp.square(x - mean).mean(axes, keepdims=True))


def _per_channel(values: jax.Array) -> jax.Array:
    """Reshapes (C,) to (1, 1, 1, C), so that it broadcasts against (N, H, W, C); leaves moments as they are."""
    return values.reshape(1, 1, 1, -1) if values.ndim == 1 else values


def _affine(x: jax.Array, mean: jax.Array, factor: jax.Array, bias: jax.Array, dtype: Any) -> jax.Array:
    """Computes (x - mean) * factor + bias. The mean is subtracted first, as it may be far larger than the rest."""
    mean, factor, bias = _per_channel(mean), _per_channel(factor), _per_channel(bias)
    return ((x.astype(jnp.float32) - mean) * factor + bias).astype(dtype)


def num_groups(channels: int) -> int:
    """Returns into how many groups a group norm puts its channels."""
    return math.gcd(_MAX_GROUPS, channels)


def group_norm(channels: int, *, epsilon: float, scale_std: float, dtype: Any, name: str) -> nn.GroupNorm:
    """Builds a group norm (Wu and He 2018) of `num_groups`."""
    return nn.GroupNorm(
        num_groups=num_groups(channels),
        epsilon=epsilon,
        dtype=dtype,
        scale_init=scale_init(scale_std),
        use_fast_variance=False,  # see _moments
        name=name,
    )
