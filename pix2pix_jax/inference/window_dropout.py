"""Dropout drawn by the place of a value in a picture, whatever part of the picture is computed."""

import jax
import jax.extend.random
import jax.numpy as jnp
from jax import lax


def keep_mask(key: jax.Array, index: jax.Array, channels: int, keep: float) -> jax.Array:
    """Draws which values are kept; those that `jax.random.bernoulli(key, keep, (1, H, W, channels))` draws there.

    Args:
      key: a typed threefry key.
      index: int32 (h, w), numbers row * W + column of pixels in the whole (H, W); what is drawn for negative ones does
        not matter.
      channels: number of channels, below 2**16.
      keep: probability of keeping a value.

    Returns:
      bool (h, w, channels).
    """
    # The counters of a whole array are its flat indices in 64 bits, which JAX lacks: pixel * channels + channel in two
    # halves of 32.
    pixel, channel = index.astype(jnp.uint32)[..., None], jnp.arange(channels, dtype=jnp.uint32).reshape(1, 1, -1)
    low_product = (pixel & 0xFFFF) * channels
    high_product = (pixel >> 16) * channels + (low_product >> 16)
    base = (high_product << 16) | (low_product & 0xFFFF)
    low = base + channel
    high = (high_product >> 16) + (low < base).astype(jnp.uint32)
    counters = jnp.concatenate([high.ravel(), low.ravel()])
    bits = jax.extend.random.threefry_2x32(jax.random.key_data(key), counters)
    first, second = jnp.split(bits, 2)
    mantissa = ((first ^ second) >> 9) | jnp.uint32(0x3F800000)  # floats in [1, 2)
    return (lax.bitcast_convert_type(mantissa, jnp.float32) - 1 < keep).reshape(low.shape)
