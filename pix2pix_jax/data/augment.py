"""Augmentation inside the train step: both images of a pair move together (Isola et al. 2017, section 6.2)."""

import types
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax

from pix2pix_jax.data.values import UINT8, Values, to_float


def crop_and_mirror(
    batch: Mapping[str, jax.Array],
    key: jax.Array,
    *,
    size: tuple[int, int],
    mirror: bool,
    values: Mapping[str, Values] = types.MappingProxyType({}),
) -> dict[str, jax.Array]:
    """Random jitter as published: a random crop, and a horizontal flip with probability one half.

    Args:
      batch: images of one height and width, (N, H, W, C), by name.
      key: of the whole batch; each example draws from its own split.
      size: (H, W) of the crop, at most the images'.
      mirror: whether to flip.
      values: what the stored values mean, by name; uint8 in [0, 255] where nothing is said.

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
    return {name: to_float(image, values.get(name, UINT8)) for name, image in moved.items()}
