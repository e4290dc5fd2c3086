"""Losses against their closed forms, elementwise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2pix_jax import losses

LOGITS = np.array([[-3.0, -1.0, -0.5, 0.0], [0.5, 1.0, 2.0, 5.0]], np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


CLOSED_FORMS = {
    ("vanilla", 0, True): lambda x: -np.log(sigmoid(x)),
    ("vanilla", 0, False): lambda x: -np.log(1 - sigmoid(x)),
    ("vanilla", 1, True): lambda x: -np.log(sigmoid(x)),
    ("lsgan", 0, True): lambda x: (x - 1) ** 2,
    ("lsgan", 0, False): lambda x: x**2,
    ("lsgan", 1, True): lambda x: (x - 1) ** 2,
    ("hinge", 0, True): lambda x: np.maximum(0, 1 - x),
    ("hinge", 0, False): lambda x: np.maximum(0, 1 + x),
    ("hinge", 1, True): lambda x: -x,
    ("hinge", 1, False): lambda x: x,
}


@pytest.mark.parametrize(("name", "player", "is_real"), CLOSED_FORMS)
def test_closed_forms(name, player, is_real):
    actual = losses.GAN_LOSSES[name][player](jnp.asarray(LOGITS), is_real)
    assert actual.shape == LOGITS.shape
    np.testing.assert_allclose(actual, CLOSED_FORMS[name, player, is_real](LOGITS), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("is_real", [True, False])
def test_the_published_loss_is_finite_for_any_logit(is_real):
    """A discriminator that is sure of itself must neither overflow nor lose its gradient where it is wrong."""
    logits = jnp.array([-1e4, -100.0, 100.0, 1e4])
    np.testing.assert_allclose(losses.vanilla(logits, is_real), jax.nn.relu(-logits if is_real else logits), atol=1e-6)
    gradient = jax.vmap(jax.grad(lambda x: losses.vanilla(x, is_real)))(logits)
    np.testing.assert_allclose(gradient, [-1, -1, 0, 0] if is_real else [0, 0, 1, 1], atol=1e-6)


def test_l1_is_the_absolute_difference():
    np.testing.assert_allclose(losses.l1(jnp.array([1.0, -2.0]), jnp.array([3.0, -2.5])), [2, 0.5])
