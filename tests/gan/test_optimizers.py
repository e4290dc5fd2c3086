"""Schedules against pytorch-CycleGAN-and-pix2pix's formulas, Adam against the paper's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pix2pix_jax.gan.optimizers import SCHEDULES, make_adam, make_schedule

RATE = 2e-4


def schedule(name, num_periods=200, **options):
    """A schedule that takes many steps at once."""
    function = make_schedule(name, learning_rate=RATE, num_periods=num_periods, **options)
    return lambda steps: np.asarray(jax.vmap(function)(jnp.asarray(steps)))


def published(epoch):
    return RATE * (1 - np.maximum(0, np.asarray(epoch) + 1 - 100) / 101)


def test_linear_is_the_published_100_and_100_epochs():
    linear = schedule("linear", num_examples=400)
    epochs = np.arange(200)
    for step in (epochs * 400, epochs * 400 + 399):  # the first and the last step of every epoch
        np.testing.assert_allclose(linear(step), published(epochs), rtol=1e-5)
    np.testing.assert_allclose(linear([0, 99 * 400 + 399, 100 * 400, 199 * 400 + 399]) / RATE * 101, [101, 101, 100, 1],
                               rtol=1e-4)  # fmt: skip


@pytest.mark.parametrize("batch_size", [3, 7, 64, 401])
def test_an_epoch_ends_in_the_middle_of_a_batch(batch_size):
    """The epoch is that of the first example of the batch."""
    steps = np.arange(0, 200 * 400 // batch_size, max(1, 700 // batch_size))
    rates = schedule("linear", num_examples=400, batch_size=batch_size)(steps)
    np.testing.assert_allclose(rates, published(steps * batch_size // 400), rtol=1e-5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_an_int_gives_the_rate_on_the_host(name):
    """The log asks for it between steps, and must not wait for the device."""
    function = make_schedule(name, learning_rate=RATE, num_periods=10, num_examples=7, batch_size=2, drop_every=3)
    steps = range(40)
    rates = [function(step) for step in steps]
    assert not any(isinstance(rate, jax.Array) for rate in rates)
    np.testing.assert_allclose(rates, jax.vmap(function)(jnp.arange(40)), rtol=1e-6, atol=1e-12)


def test_constant():
    np.testing.assert_allclose(schedule("constant")([0, 1, 199, 10_000]), RATE)


def test_step_drops_to_a_tenth_every_so_many_epochs():
    rates = schedule("step", num_examples=10)([0, 499, 500, 999, 1000, 1999])
    np.testing.assert_allclose(rates / RATE, [1, 1, 0.1, 0.1, 0.01, 0.001], rtol=1e-5)
    np.testing.assert_allclose(schedule("step", drop_every=3)([2, 3, 6]) / RATE, [1, 0.1, 0.01], rtol=1e-5)


def test_cosine():
    rates = schedule("cosine", num_examples=10)([0, 9, 500, 1000, 2000])
    desired = [1, 1, 0.5 + 0.5 * np.cos(np.pi / 4), 0.5, 0]
    np.testing.assert_allclose(rates / RATE, desired, rtol=1e-5, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 7), st.sampled_from(sorted(SCHEDULES)), st.integers(1, 5), st.integers(1, 9))
def test_rates_never_rise_and_never_turn_negative_even_beyond_the_end(periods, name, batch_size, num_examples):
    make = schedule(name, periods, batch_size=batch_size, num_examples=num_examples)
    rates = make(np.arange(200))
    assert rates[0] <= RATE * 1.0001
    assert (rates >= 0).all() and (np.diff(rates) <= 0).all()


def test_a_period_may_be_a_step():
    np.testing.assert_allclose(schedule("linear", 4)([0, 1, 2, 3, 4]) / RATE, [1, 1, 2 / 3, 1 / 3, 0], atol=1e-6)


def test_unknown_schedules_are_refused():
    with pytest.raises(ValueError, match=r"'plateau'.*constant, linear, step, cosine"):
        make_schedule("plateau", learning_rate=RATE, num_periods=1)


def test_adam_has_the_published_momenta():
    optimizer = make_adam(lambda step: RATE / (step + 1))
    params = jnp.array([0.3, -0.2])
    state = optimizer.init(params)
    first, second = np.zeros(2), np.zeros(2)
    for t, gradient in enumerate(np.array([[1.0, 1e-3], [-2.0, 5e-3], [0.5, -1.0]]), start=1):
        updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, params)
        first, second = 0.5 * first + 0.5 * gradient, 0.999 * second + 0.001 * gradient**2
        step = first / (1 - 0.5**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(updates, -RATE / t * step, rtol=1e-4)


def test_adam_is_that_of_optax():
    """In its state too, which checkpoints hold."""
    ours, theirs = make_adam(lambda step: RATE), optax.adam(lambda step: RATE, b1=0.5)
    params = {"kernel": jnp.zeros((3, 5)), "bias": jnp.zeros(7)}
    state, expected = ours.init(params), theirs.init(params)
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    for seed in range(20):
        random = np.random.default_rng(seed)
        scale = 10.0 ** random.integers(-6, 2)
        grads = {name: jnp.asarray(random.normal(0, scale, x.shape), jnp.float32) for name, x in params.items()}
        updates, state = ours.update(grads, state)
        desired, expected = theirs.update(grads, expected)
        for x, y in zip(jax.tree.leaves((updates, state)), jax.tree.leaves((desired, expected)), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7 * RATE)
