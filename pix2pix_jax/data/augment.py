"""Augmentation inside the train step: both images of a pair move together (Isola et al. 2017, section 6.2)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax


def to_float(image: jax.Array) -> jax.Array:
    """uint8 in [0, 255] -> float32 in [-1, 1]."""
    return image.astype(jnp.float32) / 127.5 - 1


def to_uint8(image: jax.Array) -> jax.Array:
    """float in [-1, 1] -> uint8 in [0, 255], rounded to nearest and clipped; the inverse of `to_float`."""
    return jnp.clip(jnp.round((image + 1) * 127.5), 0, 255).astype(jnp.uint8)


def crop_and_mirror(
    batch: Mapping[str, jax.Array], key: jax.Array, *, size: tuple[int, int], mirror: bool
) -> dict[str, jax.Array]:
    """Random jitter as published: a random crop, and a horizontal flip with probability one half.

    Args:
      batch: images of one height and width, uint8 (N, H, W, C), by name.
      key: of the whole batch; each example draws from its own split.
      size: (H, W) of the crop, at most the images'.
      mirror: whether to flip.

    Returns:
      float32 (N, *size, C) in [-1, 1] by name; the same window and flip for all images of an example.
    """
    n, height, width, _ = next(iter(batch.values())).shape
    slack = jnp.array([height - size[0], width - size[1]])

    def transform(example, key):
        crop_key, mirror_key = jax.random.split(key)
        top, left = jax.random.randint(crop_key, (2,), 0, slack + 1)
        flip = mirror & jax.random.bernoulli(mirror_key)

        def move(image):
            image = lax.dynamic_slice(image, (top, left, 0), (*size, image.shape[-1]))
            return jnp.where(flip, image[:, ::-1], image)

        return {name: move(image) for name, image in example.items()}

    moved = jax.vmap(transform)(dict(batch), jax.random.split(key, n))
    return {name: to_float(image) for name, image in moved.items()}
