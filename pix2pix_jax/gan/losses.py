"""Elementwise losses of pix2pix (Isola et al. 2017, section 3.1) and later systems; the caller reduces them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

CHARBONNIER_EPSILON = 1e-3


def vanilla(logits: jax.Array, label: float) -> jax.Array:
    """Computes the cross-entropy of sigmoid(logits) against `label`, 1 (real) or 0; the published GAN loss."""
    return optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, label))


def lsgan(logits: jax.Array, label: float) -> jax.Array:
    """Computes the squared distance of the logits from `label`, 1 (real) or 0 (Mao et al. 2017)."""
    return jnp.square(logits - label)


def hinge_discriminator(logits: jax.Array, label: float) -> jax.Array:
    """Computes max(0, 1 - logits) for label 1 (real) and max(0, 1 + logits) for label 0 (Lim and Ye 2017)."""
    return jax.nn.relu(1 - logits if label else 1 + logits)


def wasserstein(logits: jax.Array, label: float) -> jax.Array:
    """Computes -logits for label 1 (real) and logits for label 0 (Arjovsky et al. 2017).

    Against a hinge discriminator a generator minimises this too: it raises the score without a margin.
    """
    return -logits if label else logits


# name -> (loss of the discriminator, loss of the generator), each f(logits, label) of the logits' shape
GAN_LOSSES: dict[str, tuple[Callable, Callable]] = {
    "vanilla": (vanilla, vanilla),
    "lsgan": (lsgan, lsgan),
    "hinge": (hinge_discriminator, wasserstein),
    "wgan-gp": (wasserstein, wasserstein),
}
WITH_LABELS = ("vanilla", "lsgan")  # GAN losses whose labels can be smoothed


def l1(output: jax.Array, target: jax.Array) -> jax.Array:
    """Computes |output - target|."""
    return jnp.abs(output - target)


def l2(output: jax.Array, target: jax.Array) -> jax.Array:
    """Computes (output - target)^2."""
    return jnp.square(output - target)


def charbonnier(output: jax.Array, target: jax.Array) -> jax.Array:
    """Computes sqrt((output - target)^2 + 1e-6), smooth at 0 (Charbonnier et al. 1994; Lai et al. 2017)."""
    return jnp.sqrt(jnp.square(output - target) + CHARBONNIER_EPSILON**2)
