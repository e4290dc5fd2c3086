"""Dropout by position draws what JAX draws for the whole picture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2pix_jax.inference.window_dropout import keep_mask


@pytest.mark.parametrize("size", [(5, 7, 3), (8, 8, 512), (300, 200, 1)])
@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_equals_bernoulli_in_any_window(size, keep):
    key = jax.random.key(7)
    whole = jax.random.bernoulli(key, keep, (1, *size))[0]
    index = jnp.arange(size[0] * size[1]).reshape(size[:2])
    np.testing.assert_array_equal(keep_mask(key, index, size[2], keep), whole)
    np.testing.assert_array_equal(keep_mask(key, index[2:5, 3:6], size[2], keep), whole[2:5, 3:6])


def test_counters_beyond_32_bits_are_all_different():
    """A picture of 2**32 values: two pixels whose flat indices are equal in their lower halves differ."""
    key, channels = jax.random.key(0), 1024
    index = jnp.array([[0, 2**22, 2**23]])
    masks = np.asarray(keep_mask(key, index, channels, 0.5))[0]
    assert (masks[0] != masks[1]).any() and (masks[1] != masks[2]).any()
