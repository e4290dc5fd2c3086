"""Fewer products than 16: the same convolutions, their gradients and their gradients' gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pix2pix_jax.models.convolutions import matmul, plain, winograd
from pix2pix_jax.models.convolutions.matmul import pad_image


def _down(x, kernel):
    return winograd.down_conv(pad_image(x, 1), kernel)


def _flat(x, kernel):
    return winograd.flat_conv(pad_image(x, 1), kernel)


# form -> (ours, the definition)
FORMS = {
    "down": (_down, functools.partial(plain.down_conv, pad=1)),
    "up": (winograd.up_conv, plain.up_conv),
    "flat": (_flat, functools.partial(plain.flat_conv, pad=1)),
}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def closely(form, actual, desired):
    if form == "flat":  # inputs are of about 1, and its weighted sums may cancel each other
        np.testing.assert_allclose(actual, desired, rtol=1e-5, atol=6e-6 * max(1, np.abs(desired).max()))
    else:
        np.testing.assert_allclose(actual, desired, rtol=1e-5, atol=2e-6 * np.abs(desired).max())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(1, 8, 8, 3), (2, 4, 12, 5)], ids=["square", "oblong"])
def test_values_and_gradients_are_those_of_the_definition(form, shape):
    x, kernel = normal(*shape), normal(4, 4, shape[-1], 7)

    @functools.partial(jax.jit, static_argnums=0)
    def run(convolve):
        y, pull = jax.vjp(convolve, x, kernel)
        return y, pull(normal(*y.shape, seed=1))

    for actual, desired in zip(*(jax.tree.leaves(run(convolve)) for convolve in FORMS[form]), strict=True):
        assert actual.shape == desired.shape
        closely(form, actual, desired)


@settings(max_examples=10, deadline=None)
@given(n=st.integers(1, 3), h=st.integers(2, 9), w=st.integers(2, 9), c=st.integers(1, 4), features=st.integers(1, 4))
def test_stride_one_takes_odd_sizes(n, h, w, c, features):
    x, kernel = normal(n, h, w, c), normal(4, 4, c, features)
    ours, definition = FORMS["flat"]
    closely("flat", ours(x, kernel), definition(x, kernel))


@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_gradients_as_penalties_take_them(form):
    x, kernel = normal(1, 4, 4, 2), normal(4, 4, 2, 3)
    if form == "flat":  # a saturated tanh shows its rounding forty times larger than the definition's
        kernel = kernel / 10

    def penalty(convolve, kernel):
        slope = jax.grad(lambda x: jnp.tanh(convolve(x, kernel)).sum())(x)
        return jnp.square(slope).sum()

    actual, desired = (jax.jit(jax.grad(functools.partial(penalty, f)))(kernel) for f in FORMS[form])
    closely(form, actual, desired)


@pytest.mark.parametrize("form", FORMS)
def test_pictures_one_by_one_as_inference_takes_them(form):
    x, kernel = normal(3, 8, 8, 2), normal(4, 4, 2, 3)
    ours, definition = FORMS[form]
    one_by_one = jax.vmap(lambda x: ours(x[None], kernel)[0])(x)
    closely(form, one_by_one, definition(x, kernel))


LARGE = {  # form -> (input of 512 pixels at the small side, the function that chooses)
    "down": ((2, 32, 32, 32), functools.partial(matmul.down_conv, pad=1)),
    "up": ((2, 16, 16, 32), matmul.up_conv),
    "flat": ((2, 17, 17, 32), functools.partial(matmul.flat_conv, pad=1)),
}
PRODUCTS = {"down": 9, "up": 9, "flat": 4}  # of the last, one is of 36 matrices, three transform
ROUNDING = {"down": 1.2e-6, "up": 0.7e-6, "flat": 2.2e-6}  # of the outputs' spread; the definition: 0.8, 0.2 and 0.6e-6


def products(convolve, x, kernel) -> int:
    return str(jax.make_jaxpr(convolve)(x, kernel)).count("dot_general")


@pytest.mark.parametrize("form", LARGE)
def test_they_are_chosen_where_there_are_pixels_and_channels_enough(form):
    shape, chosen = LARGE[form]
    x, kernel = jnp.zeros(shape), jnp.zeros((4, 4, 32, 32))
    expected = PRODUCTS[form]
    assert products(chosen, x, kernel) == expected
    assert products(chosen, x[:1], kernel) != expected  # pixels
    assert products(chosen, x, kernel[..., :31]) != expected  # channels
    assert products(chosen, x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)) != expected  # precision
    assert products(chosen, x, kernel[:3, :3]) != expected  # size
    x, kernel = normal(*shape), normal(4, 4, 32, 32)
    closely(form, jax.jit(chosen)(x, kernel), FORMS[form][1](x, kernel))


@pytest.mark.parametrize("form", FORMS)
def test_rounding_stays_near_the_definitions(form):
    x, kernel = normal(1, 16, 16, 128), normal(4, 4, 128, 8)

    def error(actual):
        return np.sqrt(np.mean(np.square(actual - exact)))

    ours, definition = FORMS[form]
    with jax.enable_x64(True):
        exact = np.asarray(definition(x.astype(np.float64), kernel.astype(np.float64)))
    assert exact.dtype == np.float64
    assert error(jax.jit(ours)(x, kernel)) < ROUNDING[form] * exact.std()
