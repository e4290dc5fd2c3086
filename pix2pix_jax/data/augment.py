"""Augmentation inside the train step: both images of a pair move together (Isola et al. 2017, section 6.2).

What an example goes through depends on the batch's key and the example's place in the batch alone. Whatever is switched
off leaves no operation in the compiled step.
"""

import dataclasses
import functools
import math
import types
from collections.abc import Collection, Mapping

import jax
import jax.numpy as jnp
from etils import epy
from jax import lax
from jax.scipy.ndimage import map_coordinates

from pix2pix_jax.data.files.value_range import UINT8, ValueRange, to_float

with epy.lazy_imports():  # few recipes change colours
    import dm_pix

# Of the keys that an example's operations fold into its own; `split` has taken 0 and 1 for crop and mirror.
_FLIP_VERTICAL, _ROT90, _AFFINE, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _BLUR, _NOISE = range(2, 11)
_SHARPEST = 0.1  # sigma in pixels that is no blur: neighbours weigh exp(-50)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Holds the random changes beyond crop and mirror, fields of `config.augment`; 0 and False are off.

    The first four are geometric and change the images of an example alike. The others are photometric and change the
    input alone.
    """

    rot90: bool = False  # by 0, 90, 180 or 270 degrees; square crops
    flip_vertical: bool = False  # with probability one half
    rotate_degrees: float = 0.0  # largest angle either way
    scale: float = 0.0  # zoom by 1 - scale to 1 + scale
    brightness: float = 0.0  # largest shift, in [0, 1] units
    contrast: float = 0.0  # factor from 1 - contrast to 1 + contrast
    saturation: float = 0.0  # likewise
    hue: float = 0.0  # largest turn, as part of the circle
    blur: float = 0.0  # largest sigma in pixels
    noise: float = 0.0  # standard deviation, in [-1, 1] units


PHOTOMETRIC = ("brightness", "contrast", "saturation", "hue", "blur", "noise")


def crop_and_mirror(
    batch: Mapping[str, jax.Array],
    key: jax.Array,
    *,
    size: tuple[int, int],
    mirror: bool,
    more: Augmentation = Augmentation(),
    nearest: Collection[str] = (),
    values: Mapping[str, ValueRange] = types.MappingProxyType({}),
) -> dict[str, jax.Array]:
    """Crops and mirrors a batch at random, as the paper does, and applies the changes of `more`.

    Args:
      batch: stored images (N, H, W, C) by name, all of one height and width; photometric changes apply to "input".
      key: PRNG key of the batch; each example draws from its own split.
      size: (H, W) of the crop in pixels, at most the images'.
      mirror: whether to flip horizontally with probability one half.
      more: further changes.
      nearest: names of label maps, which are rotated and scaled to the nearest pixel, so that labels never mix.
      values: value ranges by name; uint8 in [0, 255] for names that are missing.

    Returns:
      float32 (N, *size, C) in [-1, 1] by name. All images of an example get the same window and moves.
    """

    def as_floats(images: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        return {name: to_float(image, values.get(name, UINT8)) for name, image in images.items()}

    keys = jax.random.split(key, len(next(iter(batch.values()))))
    move = jax.vmap(functools.partial(_move_pair, size=size, mirror=mirror, more=more, nearest=nearest))
    resampled = more.rotate_degrees or more.scale  # interpolated values need not be integers
    images = move(as_floats(batch), keys) if resampled else as_floats(move(dict(batch), keys))
    if any(getattr(more, name) for name in PHOTOMETRIC):
        images["input"] = jax.vmap(functools.partial(_recolour, more=more))(images["input"], keys)
    return images


def _move_pair(
    example: dict[str, jax.Array], key: jax.Array, *, size: tuple[int, int], mirror: bool, more: Augmentation, nearest
) -> dict[str, jax.Array]:
    """Applies the geometric part to one example: images (H, W, C) by name."""
    height, width, _ = next(iter(example.values())).shape
    crop_key, mirror_key = jax.random.split(key)
    corner = jax.random.randint(crop_key, (2,), 0, jnp.array([height - size[0], width - size[1]]) + 1)
    flip = mirror & jax.random.bernoulli(mirror_key)
    if more.rotate_degrees or more.scale:
        points = _turned_window(corner, jax.random.fold_in(key, _AFFINE), size=size, more=more)
        example = {name: _sample(image, points, nearest=name in nearest) for name, image in example.items()}
    else:
        start = (corner[0], corner[1], 0)
        example = jax.tree.map(lambda image: lax.dynamic_slice(image, start, (*size, image.shape[-1])), example)
    example = jax.tree.map(lambda image: jnp.where(flip, image[:, ::-1], image), example)
    if more.flip_vertical:
        flip_rows = jax.random.bernoulli(jax.random.fold_in(key, _FLIP_VERTICAL))
        example = jax.tree.map(lambda image: jnp.where(flip_rows, image[::-1], image), example)
    if more.rot90:
        turns = jax.random.randint(jax.random.fold_in(key, _ROT90), (), 0, 4)
        turned = [functools.partial(jnp.rot90, k=k) for k in range(4)]
        example = jax.tree.map(lambda image: lax.switch(turns, turned, image), example)
    return example


def _turned_window(corner: jax.Array, key: jax.Array, *, size: tuple[int, int], more: Augmentation) -> jax.Array:
    """Returns the rows and columns to read, (2, *size): the window at `corner`, turned and scaled about its centre.

    Around the window lies the rest of the picture, so less has to be made up than if the crop were turned by itself.
    """
    angle_key, zoom_key = jax.random.split(key)
    angle = math.radians(more.rotate_degrees) * jax.random.uniform(angle_key, minval=-1, maxval=1)
    zoom = 1 + more.scale * jax.random.uniform(zoom_key, minval=-1, maxval=1)
    middle = (jnp.array(size, jnp.float32) - 1) / 2
    rows = jnp.arange(size[0])[:, None] - middle[0]
    columns = jnp.arange(size[1])[None, :] - middle[1]
    cosine, sine = jnp.cos(angle) / zoom, jnp.sin(angle) / zoom
    turned = jnp.stack([cosine * rows - sine * columns, sine * rows + cosine * columns])
    return turned + (middle + corner)[:, None, None]


def _sample(image: jax.Array, points: jax.Array, *, nearest: bool) -> jax.Array:
    """Reads (H, W, C) at (2, H', W') points: linear between pixels, and mirrored beyond the border."""
    read = functools.partial(map_coordinates, order=0 if nearest else 1, mode="mirror")
    return jax.vmap(lambda channel: read(channel, list(points)), in_axes=-1, out_axes=-1)(image)


def _recolour(image: jax.Array, key: jax.Array, *, more: Augmentation) -> jax.Array:
    """Applies the photometric part to one image (H, W, C) in [-1, 1]. Only three channels have saturation and hue."""

    def draw(operation: int, low: float, high: float) -> jax.Array:
        return jax.random.uniform(jax.random.fold_in(key, operation), minval=low, maxval=high)

    with jax.numpy_rank_promotion("allow"):  # dm-pix counts on it
        image = (image + 1) / 2
        if more.brightness:
            image = dm_pix.adjust_brightness(image, draw(_BRIGHTNESS, -more.brightness, more.brightness))
        if more.contrast:
            image = dm_pix.adjust_contrast(image, draw(_CONTRAST, 1 - more.contrast, 1 + more.contrast))
        image = jnp.clip(image, 0, 1)
        if more.saturation:
            image = _saturate(image, draw(_SATURATION, 1 - more.saturation, 1 + more.saturation))
        if more.hue:
            image = _turn_hue(image, draw(_HUE, -more.hue, more.hue))
        if more.blur:
            image = _blur(image, draw(_BLUR, _SHARPEST, max(more.blur, _SHARPEST)), math.ceil(3 * more.blur))
    image = image * 2 - 1
    if more.noise:
        noise = jax.random.normal(jax.random.fold_in(key, _NOISE), image.shape)
        image = jnp.clip(image + more.noise * noise, -1, 1)
    return image


# Colours are changed as in HSV, by expressions that are continuous wherever two channels are equal. XLA computes a
# value again for each of its uses, rounded differently, so a branch on equality of two of them would take any side.


def _saturate(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Multiplies the saturation of RGB in [0, 1], to at most 1; hue and value stay."""
    value, spread = _value_and_spread(image)
    most = value / jnp.maximum(spread, jnp.finfo(image.dtype).tiny)  # one over the saturation
    return value - (value - image) * jnp.minimum(factor, most)


def _turn_hue(image: jax.Array, turn: jax.Array) -> jax.Array:
    """Turns the hue of RGB in [0, 1] by a part of the circle; saturation and value stay."""
    value, spread = _value_and_spread(image)
    red, green, blue = jnp.split(image / jnp.maximum(spread, jnp.finfo(image.dtype).tiny), 3, axis=-1)
    hue = jnp.where(  # in sixths of the circle
        (red >= green) & (red >= blue), green - blue, jnp.where(green >= blue, 2 + blue - red, 4 + red - green)
    )
    place = (hue + 6 * turn + jnp.array([5.0, 3.0, 1.0])) % 6
    return value - spread * jnp.clip(jnp.minimum(place, 4 - place), 0, 1)


def _value_and_spread(image: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns (the largest channel, its distance from the smallest), each (H, W, 1)."""
    value = image.max(axis=-1, keepdims=True)
    return value, value - image.min(axis=-1, keepdims=True)


def _blur(image: jax.Array, sigma: jax.Array, radius: int) -> jax.Array:
    """Blurs by a Gaussian. The border is mirrored, where dm-pix alone would darken it."""
    padded = jnp.pad(image, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    return dm_pix.gaussian_blur(padded, sigma, 2 * radius + 1, padding="VALID")
