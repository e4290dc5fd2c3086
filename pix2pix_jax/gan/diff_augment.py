"""Differentiable augmentation of what the discriminator sees (Zhao et al. 2020, DiffAugment).

With few examples a discriminator learns them by heart. It then tells real from fake by memory, and its gradient no
longer says what makes a picture look real. Changing real and fake images alike, in both networks' losses, delays that.
"""

from collections.abc import Collection

import jax
import jax.numpy as jnp

from pix2pix_jax.errors import check_choice

POLICIES = ("color", "translation", "cutout")
_SHIFT = 1 / 8  # largest shift, as a part of the side
_CUTOUT = 1 / 2  # side of the square, as a part of the picture's


def diff_augment(
    image: jax.Array, candidate: jax.Array, key: jax.Array, policies: Collection[str]
) -> tuple[jax.Array, jax.Array]:
    """Changes each pair at random, by the magnitudes of the paper.

    Args:
      image: inputs (N, H, W, C) in [-1, 1].
      candidate: targets or translations (N, H, W, D) in [-1, 1].
      key: draws the changes; pairs of the same key and place in the batch change alike.
      policies: any of POLICIES. "color" changes brightness, saturation and contrast of the candidate alone;
        "translation" shifts both images by up to an eighth of their sides, with zeros behind; "cutout" writes zeros
        into a square of half their sides.

    Returns:
      (image, candidate), of the same shapes; values may leave [-1, 1].
    """
    if not policies:
        return image, candidate

    def change(image, candidate, key):
        color_key, shift_key, cutout_key = jax.random.split(key, 3)
        if "color" in policies:
            candidate = _color(candidate, color_key)
        both = jnp.concatenate([image, candidate], axis=-1)
        if "translation" in policies:
            both = _translate(both, shift_key)
        if "cutout" in policies:
            both = _cut_out(both, cutout_key)
        return both[..., : image.shape[-1]], both[..., image.shape[-1] :]

    keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.arange(len(image)))
    return jax.vmap(change)(image, candidate, keys)


def check_policies(policies: Collection[str]) -> None:
    """Raises ValueError, whose message begins with the config's field, if there is no such policy."""
    for policy in policies:
        check_choice("diff_augment", policy, POLICIES)


def _color(picture: jax.Array, key: jax.Array) -> jax.Array:
    """Adds a brightness, scales the distance from grey, then that from the picture's mean."""
    brightness, saturation, contrast = jax.random.uniform(key, (3,))
    picture = picture + (brightness - 0.5)
    gray = picture.mean(-1, keepdims=True)
    picture = (picture - gray) * (2 * saturation) + gray
    mean = picture.mean()
    return (picture - mean) * (contrast + 0.5) + mean


def _translate(picture: jax.Array, key: jax.Array) -> jax.Array:
    height, width, channels = picture.shape
    most = [int(side * _SHIFT + 0.5) for side in (height, width)]  # as the authors' program rounds
    begin = jax.random.randint(key, (2,), 0, 2 * jnp.array(most) + 1)
    padded = jnp.pad(picture, [(most[0], most[0]), (most[1], most[1]), (0, 0)])
    return jax.lax.dynamic_slice(padded, (*begin, 0), (height, width, channels))


def _cut_out(picture: jax.Array, key: jax.Array) -> jax.Array:
    centre = jax.random.uniform(key, (2,))

    def inside(size: int, middle: jax.Array) -> jax.Array:
        return jnp.abs(jnp.arange(size) + 0.5 - middle * size) <= size * _CUTOUT / 2

    rows, columns = (inside(size, middle) for size, middle in zip(picture.shape, centre, strict=False))
    return jnp.where((rows[:, None] & columns[None])[..., None], 0.0, picture)
