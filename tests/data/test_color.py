"""Colour conversions against scikit-image."""

import jax.numpy as jnp
import numpy as np
import pytest
from skimage import color as reference

from pix2pix_jax.data import color

PHOTO = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
CORNERS = np.array(np.meshgrid(*[[0, 255]] * 3), np.uint8).reshape(3, 2, 4).transpose(1, 2, 0)  # black to white


def to_float(photo: np.ndarray) -> np.ndarray:
    return photo.astype(np.float32) / 127.5 - 1


def test_split_is_lab_in_the_networks_ranges():
    for photo in (PHOTO, CORNERS):
        lightness, colour = color.split(to_float(photo))
        lab = reference.rgb2lab(photo)
        np.testing.assert_allclose(lightness[..., 0], lab[..., 0] / 50 - 1, atol=1e-5)
        np.testing.assert_allclose(colour, lab[..., 1:] / 110, atol=1e-5)
        assert np.abs(lightness).max() <= 1 + 1e-5 and np.abs(colour).max() < 1


def test_join_is_its_inverse_to_the_last_grey_level():
    for photo in (PHOTO, CORNERS):
        back = color.join(*color.split(to_float(photo)))
        np.testing.assert_array_equal(np.round((np.asarray(back) + 1) * 127.5), photo)


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")  # of scikit-image, which clips too
def test_any_answer_of_a_network_is_a_picture():
    rng = np.random.default_rng(1)
    lightness, colour = rng.uniform(-1, 1, (64, 64, 1)), rng.uniform(-1, 1, (64, 64, 2))
    photo = np.asarray(color.join(jnp.asarray(lightness, jnp.float32), jnp.asarray(colour, jnp.float32)))
    assert np.isfinite(photo).all() and photo.min() >= -1 and photo.max() <= 1
    # Where the colour can be shown, clipping has changed nothing.
    lab = np.concatenate([lightness * 50 + 50, colour * 110], axis=-1)
    shown = ((np.abs(photo) < 0.99).all(-1)) & (np.abs(reference.rgb2lab((photo + 1) / 2) - lab).max(-1) < 0.01)
    assert shown.sum() > 300
    np.testing.assert_allclose((photo[shown] + 1) / 2, reference.lab2rgb(lab)[shown], atol=1e-4)


def test_grey_keeps_lightness_and_loses_colour():
    grey = np.asarray(color.grey(to_float(PHOTO)))
    assert np.ptp(grey, axis=-1).max() < 1e-4
    np.testing.assert_allclose(color.split(grey)[0], color.split(to_float(PHOTO))[0], atol=1e-4)
