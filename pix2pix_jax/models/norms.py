"""Normalisations of the pix2pix networks, with PyTorch's conventions, which the published models use."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from pix2pix_jax.models.remat import keep

NORMS = ("batch", "instance", "group", "none")
_MAX_GROUPS = 32  # Wu and He 2018


class BatchNorm(nn.Module):
    """Batch normalisation.

    Statistics are computed in float32 over N, H, W (under jit: of the global batch). The running variance takes the
    unbiased estimate, unlike `flax.linen.BatchNorm`; running = momentum * running + (1 - momentum) * batch.

    Attributes:
      epsilon: added to the variance.
      momentum: of the running statistics.
      scale_std: the scale is initialised by N(1, scale_std), 0.02 as published.
      dtype: of the result (None: the input's).
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
        if use_running_average:
            mean, var = running_mean.value, running_var.value
        else:
            mean, var = _moments(x, axes=(0, 1, 2))
            if not self.is_initializing():
                count = x.size // features
                unbiased = var * (count / max(count - 1, 1))
                running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
                running_var.value = self.momentum * running_var.value + (1 - self.momentum) * unbiased
        return _affine(x, mean, lax.rsqrt(var + self.epsilon) * scale, bias, self.dtype)


class InstanceNorm(nn.Module):
    """Normalises each image and channel over H, W; no parameters and no running statistics, as published."""

    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        mean, var = _moments(x, axes=(1, 2))
        return _affine(x, mean, lax.rsqrt(var + self.epsilon), jnp.zeros(x.shape[-1]), self.dtype)


def scale_init(std: float) -> nn.initializers.Initializer:
    """N(1, std), the published initialisation of normalisation scales (with std 0.02)."""
    return lambda key, shape, dtype=jnp.float32: 1 + std * jax.random.normal(key, shape, dtype)


def _moments(x: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance in float32; in two passes, as E[x^2] - E[x]^2 cancels for flat channels."""
    x = x.astype(jnp.float32)
    per_image = len(axes) < 3  # statistics per image must broadcast against (N, H, W, C)
    mean = keep(x.mean(axes, keepdims=True))
    var = keep(jnp.square(x - mean).mean(axes, keepdims=True))
    return (mean, var) if per_image else (mean.reshape(-1), var.reshape(-1))


def _affine(x: jax.Array, mean: jax.Array, factor: jax.Array, bias: jax.Array, dtype: Any) -> jax.Array:
    """(x - mean) * factor + bias, in this order, as the mean may be far larger than what is left."""
    mean, factor, bias = (v.reshape(1, 1, 1, -1) if v.ndim == 1 else v for v in (mean, factor, bias))
    return ((x.astype(jnp.float32) - mean) * factor + bias).astype(dtype or x.dtype)


def group_norm(channels: int, *, epsilon: float, scale_std: float, dtype: Any, name: str) -> nn.GroupNorm:
    """Group normalisation (Wu and He 2018) of 32 groups, or as many as divide the channels."""
    return nn.GroupNorm(
        num_groups=math.gcd(_MAX_GROUPS, channels),
        epsilon=epsilon,
        dtype=dtype,
        scale_init=scale_init(scale_std),
        use_fast_variance=False,  # see _moments
        name=name,
    )
