"""Losses of pix2pix, elementwise: the caller reduces (Isola et al. 2017, section 3.1)."""

import jax
import jax.numpy as jnp
import optax


def vanilla(logits: jax.Array, is_real: bool) -> jax.Array:
    """Binary cross-entropy of sigmoid(logits) against 1 (real) or 0; the published GAN loss."""
    return optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, float(is_real)))


def lsgan(logits: jax.Array, is_real: bool) -> jax.Array:
    """Squared distance of the logits from 1 (real) or 0 (Mao et al. 2017)."""
    return jnp.square(logits - float(is_real))


def hinge_discriminator(logits: jax.Array, is_real: bool) -> jax.Array:
    """max(0, 1 - logits) for real, max(0, 1 + logits) for fake (Lim and Ye 2017)."""
    return jax.nn.relu(1 - logits if is_real else 1 + logits)


def hinge_generator(logits: jax.Array, is_real: bool) -> jax.Array:
    """-logits: the generator raises the discriminator's score without a margin (Lim and Ye 2017)."""
    return -logits if is_real else logits


def l1(output: jax.Array, target: jax.Array) -> jax.Array:
    """|output - target|."""
    return jnp.abs(output - target)


# name -> (loss of the discriminator, loss of the generator), each f(logits, is_real) of the logits' shape
GAN_LOSSES = {
    "vanilla": (vanilla, vanilla),
    "lsgan": (lsgan, lsgan),
    "hinge": (hinge_discriminator, hinge_generator),
}
