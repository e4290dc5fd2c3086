"""Losses of pix2pix and of the systems after it, elementwise: the caller reduces (Isola et al. 2017, section 3.1)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

CHARBONNIER_EPSILON = 1e-3


def vanilla(logits: jax.Array, label: float) -> jax.Array:
    """Binary cross-entropy of sigmoid(logits) against `label`, 1 (real) or 0; the published GAN loss."""
    return optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, label))


def lsgan(logits: jax.Array, label: float) -> jax.Array:
    """Squared distance of the logits from `label`, 1 (real) or 0 (Mao et al. 2017)."""
    return jnp.square(logits - label)


def hinge_discriminator(logits: jax.Array, label: float) -> jax.Array:
    """max(0, 1 - logits) for real, label 1, and max(0, 1 + logits) for fake, label 0 (Lim and Ye 2017)."""
    return jax.nn.relu(1 - logits if label else 1 + logits)


def wasserstein(logits: jax.Array, label: float) -> jax.Array:
    """-logits for real, label 1, and logits for fake, label 0 (Arjovsky et al. 2017).

    It is also what a generator minimises against a hinge discriminator: it raises the score without a margin.
    """
    return -logits if label else logits


# name -> (loss of the discriminator, loss of the generator), each f(logits, label) of the logits' shape
GAN_LOSSES: dict[str, tuple[Callable, Callable]] = {
    "vanilla": (vanilla, vanilla),
    "lsgan": (lsgan, lsgan),
    "hinge": (hinge_discriminator, wasserstein),
    "wgan-gp": (wasserstein, wasserstein),
}
WITH_LABELS = ("vanilla", "lsgan")  # those whose labels can be smoothed


def l1(output: jax.Array, target: jax.Array) -> jax.Array:
    """|output - target|."""
    return jnp.abs(output - target)


def l2(output: jax.Array, target: jax.Array) -> jax.Array:
    """(output - target)^2."""
    return jnp.square(output - target)


def charbonnier(output: jax.Array, target: jax.Array) -> jax.Array:
    """sqrt((output - target)^2 + 1e-6), an L1 that is smooth at 0 (Charbonnier et al. 1994; Lai et al. 2017)."""
    return jnp.sqrt(jnp.square(output - target) + CHARBONNIER_EPSILON**2)
