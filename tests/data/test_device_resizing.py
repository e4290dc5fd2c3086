"""The device's resize is Pillow's."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pix2pix_jax.data import device_resizing
from pix2pix_jax.data.files import images

resize = jax.jit(device_resizing.resize, static_argnums=1)


def check(given_size, size, channels=3):
    pixels = np.random.default_rng(0).integers(0, 256, (2, *given_size, channels), np.uint8)
    pixels[1] = np.where(pixels[1] < 128, 0, 255)  # overshoots, which have to be clipped
    expected = np.stack([images.resize(image, size) for image in pixels])
    np.testing.assert_array_equal(resize(pixels, size), expected)


@pytest.mark.parametrize(
    ("given_size", "size"),
    [((256, 256), (286, 286)), ((600, 600), (286, 286)), ((100, 200), (50, 50)), ((64, 64), (64, 64))],
)
def test_usual_sizes(given_size, size):
    check(given_size, size)
    check(given_size, size, channels=1)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(1, 90)] * 2), st.tuples(*[st.integers(1, 90)] * 2))
def test_any_sizes(given_size, size):
    # Where the height shrinks, some versions of Pillow take the vertical pass first.
    check(given_size, (max(given_size[0], size[0]), size[1]))


def test_it_knows_where_it_would_differ(monkeypatch):
    assert device_resizing.agrees((64, 64), (72, 72))
    monkeypatch.setattr(images, "resize", lambda image, size: images.np.zeros((*size, 3), np.uint8))
    assert not device_resizing.agrees((64, 64), (72, 72))
