"""Losses against their closed forms, elementwise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2pix_jax.gan import losses

LOGITS = np.array([[-3.0, -1.0, -0.5, 0.0], [0.5, 1.0, 2.0, 5.0]], np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


CLOSED_FORMS = {
    ("vanilla", 0, 1.0): lambda x: -np.log(sigmoid(x)),
    ("vanilla", 0, 0.0): lambda x: -np.log(1 - sigmoid(x)),
    ("vanilla", 1, 1.0): lambda x: -np.log(sigmoid(x)),
    ("lsgan", 0, 1.0): lambda x: (x - 1) ** 2,
    ("lsgan", 0, 0.0): lambda x: x**2,
    ("lsgan", 1, 1.0): lambda x: (x - 1) ** 2,
    ("hinge", 0, 1.0): lambda x: np.maximum(0, 1 - x),
    ("hinge", 0, 0.0): lambda x: np.maximum(0, 1 + x),
    ("hinge", 1, 1.0): lambda x: -x,
    ("wgan-gp", 0, 1.0): lambda x: -x,
    ("wgan-gp", 0, 0.0): lambda x: x,
    ("wgan-gp", 1, 1.0): lambda x: -x,
    ("vanilla", 0, 0.9): lambda x: -0.9 * np.log(sigmoid(x)) - 0.1 * np.log(1 - sigmoid(x)),
    ("lsgan", 0, 0.9): lambda x: (x - 0.9) ** 2,
}


@pytest.mark.parametrize(("name", "player", "label"), CLOSED_FORMS)
def test_closed_forms(name, player, label):
    actual = losses.GAN_LOSSES[name][player](jnp.asarray(LOGITS), label)
    assert actual.shape == LOGITS.shape
    np.testing.assert_allclose(actual, CLOSED_FORMS[name, player, label](LOGITS), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("label", [1.0, 0.0])
def test_the_published_loss_is_finite_for_any_logit(label):
    """A discriminator that is sure of itself must neither overflow nor lose its gradient where it is wrong."""
    logits = jnp.array([-1e4, -100.0, 100.0, 1e4])
    np.testing.assert_allclose(losses.vanilla(logits, label), jax.nn.relu(-logits if label else logits), atol=1e-6)
    gradient = jax.vmap(jax.grad(lambda x: losses.vanilla(x, label)))(logits)
    np.testing.assert_allclose(gradient, [-1, -1, 0, 0] if label else [0, 0, 1, 1], atol=1e-6)


def test_distances_are_their_closed_forms():
    output, target = jnp.array([1.0, -2.0, 0.5]), jnp.array([3.0, -2.5, 0.5])
    np.testing.assert_allclose(losses.l1(output, target), [2, 0.5, 0])
    np.testing.assert_allclose(losses.l2(output, target), [4, 0.25, 0])
    np.testing.assert_allclose(losses.charbonnier(output, target), np.sqrt([4 + 1e-6, 0.25 + 1e-6, 1e-6]), rtol=1e-6)


def test_charbonnier_has_a_gradient_where_l1_has_a_kink():
    gradient = jax.vmap(jax.grad(lambda x: losses.charbonnier(x, 0.0)))(jnp.array([-1.0, 0.0, 1.0]))
    np.testing.assert_allclose(gradient, [-1, 0, 1], atol=1e-5)
