"""Colour spaces of the networks: images as they are (rgb), or colourisation from lightness to colour (lab).

Colourisation takes CIE L*a*b* of sRGB under the white point D65 (IEC 61966-2-1; CIE 15). The networks' ranges are those
of pytorch-CycleGAN-and-pix2pix: L / 50 - 1 and (a, b) / 110.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

# Linear sRGB to XYZ, each row divided by the white point's coordinate, so that white is (1, 1, 1).
_WHITE = np.array([[0.95047], [1.0], [1.08883]])
_RGB_TO_XYZ = [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
TO_XYZ = np.array(_RGB_TO_XYZ) / _WHITE
FROM_XYZ = np.linalg.inv(TO_XYZ)
KNEE = 6 / 29


class Rgb:
    """Shows the networks images as they are."""

    colorizes = False

    def channels(self, input_channels: int, target_channels: int) -> tuple[int, int]:
        """Returns the (input, output) channels of the generator."""
        return input_channels, target_channels

    def batch(self, batch: Mapping[str, jax.Array]) -> Mapping[str, jax.Array]:
        """Returns the input and target of the networks, float (N, H, W, C) in [-1, 1]."""
        return batch

    def translate(self, images: jax.Array, generate: Callable[[jax.Array], jax.Array]) -> jax.Array:
        """Returns what `generate`, the generator, makes of `images`, both as people see them, in [-1, 1]."""
        return generate(images)

    def visible(self, images: jax.Array) -> jax.Array:
        """Returns input images, float in [-1, 1], as the network sees them."""
        return images


class Lab(Rgb):
    """Shows the generator the lightness of photographs, to make their colour."""

    colorizes = True

    def channels(self, input_channels: int, target_channels: int) -> tuple[int, int]:
        return 1, 2

    def batch(self, batch: Mapping[str, jax.Array]) -> Mapping[str, jax.Array]:
        lightness, colour = split(batch["target"])
        return {"input": lightness, "target": colour}

    def translate(self, images: jax.Array, generate: Callable[[jax.Array], jax.Array]) -> jax.Array:
        lightness, _ = split(images)
        return join(lightness, generate(lightness))

    def visible(self, images: jax.Array) -> jax.Array:
        return grey(images)


COLOR_SPACES = {"rgb": Rgb(), "lab": Lab()}


def split(photo: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Splits sRGB photographs (..., 3) in [-1, 1] into (lightness (..., 1), colour (..., 2)), both within [-1, 1]."""
    x, y, z = jnp.moveaxis(_cube_root(_apply(TO_XYZ, _to_linear((photo + 1) / 2))), -1, 0)
    lightness = 116 * y - 16
    colour = jnp.stack([500 * (x - y), 200 * (y - z)], axis=-1)
    return lightness[..., None] / 50 - 1, colour / 110


def join(lightness: jax.Array, colour: jax.Array) -> jax.Array:
    """Inverts `split`: returns sRGB (..., 3) in [-1, 1].

    A network may ask for colours that no screen shows. What is beyond sRGB is clipped after the conversion, channel by
    channel in linear light; clipping a and b before it would change colours that can be shown.
    """
    y = ((lightness[..., 0] + 1) * 50 + 16) / 116
    a, b = jnp.moveaxis(colour * 110, -1, 0)
    roots = jnp.stack([y + a / 500, y, y - b / 200], axis=-1)
    linear = _apply(FROM_XYZ, jnp.maximum(_cube(roots), 0))
    return _to_gamma(jnp.clip(linear, 0, 1)) * 2 - 1


def grey(photo: jax.Array) -> jax.Array:
    """Removes the colour of photographs, sRGB (..., 3) in [-1, 1]."""
    lightness, colour = split(photo)
    return join(lightness, jnp.zeros_like(colour))


def _apply(matrix: np.ndarray, x: jax.Array) -> jax.Array:
    # At full precision: TPUs multiply matrices in bfloat16 by default, which is visible in colours.
    return jnp.einsum("...i,ji->...j", x, jnp.asarray(matrix, jnp.float32), precision=jax.lax.Precision.HIGHEST)


def _to_linear(srgb: jax.Array) -> jax.Array:
    return jnp.where(srgb > 0.04045, ((jnp.maximum(srgb, 0.04045) + 0.055) / 1.055) ** 2.4, srgb / 12.92)


def _to_gamma(linear: jax.Array) -> jax.Array:
    bright = 1.055 * jnp.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return jnp.where(linear > 0.0031308, bright, linear * 12.92)


def _cube_root(x: jax.Array) -> jax.Array:
    """Takes the cube root, continued by a straight line near 0 (CIE 15)."""
    return jnp.where(x > KNEE**3, jnp.cbrt(x), x / (3 * KNEE**2) + 4 / 29)


def _cube(x: jax.Array) -> jax.Array:
    return jnp.where(x > KNEE, x**3, 3 * KNEE**2 * (x - 4 / 29))
