"""Pure train and translate steps; the caller compiles them.

A train step is a function of (state, batch): its crops, flips and dropout depend on the seed and `state.step` alone.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from pix2pix_jax import losses
from pix2pix_jax.data import augment
from pix2pix_jax.state import NetworkState, TrainState, random_streams

Batch = Mapping[str, jax.Array]  # "input", "target": uint8 (N, H, W, C) at load size
Metrics = dict[str, jax.Array]  # float32 scalars

UPDATE_ORDERS = ("sequential", "simultaneous")
NORM_STATS = ("batch", "instance", "running")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """What a train step is made of."""

    generator: nn.Module
    discriminator: nn.Module
    g_optimizer: optax.GradientTransformation
    d_optimizer: optax.GradientTransformation


def make_train_step(
    parts: Parts,
    *,
    seed: int,
    image_size: tuple[int, int],
    mirror: bool = True,
    gan_loss: str = "vanilla",
    l1_weight: float = 100.0,
    update_order: str = "sequential",
    constrain: Callable[[Any], Any] = lambda batch: batch,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Builds the pure train step of pix2pix.

    Args:
      parts: networks and optimisers.
      seed: of crops, flips and dropout.
      image_size: (H, W) of the random crop.
      mirror: whether to flip pairs with probability one half.
      gan_loss: a key of `losses.GAN_LOSSES`.
      l1_weight: weight of mean |target - output| beside the generator's GAN loss of weight 1.
      update_order: "sequential" as the popular PyTorch implementation (the discriminator first, then the generator
        against the updated discriminator) or "simultaneous" as TensorFlow's tutorial (both from the old weights).
      constrain: applied to the augmented batch; places it on the mesh.

    Returns:
      f(state, batch) -> (state, metrics) with metrics g_gan, g_l1 (unweighted, [-1, 1] units), d_real and d_fake.
    """
    steps_key = random_streams(seed)[1]
    d_loss_fn, g_loss_fn = losses.GAN_LOSSES[gan_loss]
    if update_order not in UPDATE_ORDERS:
        raise ValueError(f"update_order {update_order!r}: must be one of {', '.join(UPDATE_ORDERS)}")

    def discriminate(params, batch_stats, image, candidate):
        return _apply(parts.discriminator, params, batch_stats, image, candidate)

    def discriminator_loss(params, batch_stats, image, fake, target):
        fake_logits, batch_stats = discriminate(params, batch_stats, image, fake)
        real_logits, batch_stats = discriminate(params, batch_stats, image, target)
        fake_loss = d_loss_fn(fake_logits, False).mean()
        real_loss = d_loss_fn(real_logits, True).mean()
        # Half, so that the discriminator learns at the generator's pace (section 3.3).
        return (fake_loss + real_loss) / 2, (batch_stats, fake_loss, real_loss)

    def fake_loss(fake, d: NetworkState, image, target):
        logits, batch_stats = discriminate(d.params, d.batch_stats, image, fake)
        gan = g_loss_fn(logits, True).mean()
        l1 = losses.l1(fake, target).mean()
        return gan + l1_weight * l1, (batch_stats, gan, l1)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(steps_key, state.step))
        batch = constrain(augment.crop_and_mirror(batch, augment_key, size=image_size, mirror=mirror))
        image, target = batch["input"], batch["target"]
        g, d = state.generator, state.discriminator

        def generate(params):
            return _apply(parts.generator, params, g.batch_stats, image, rngs={"dropout": dropout_key})

        # The generator runs forward once: its gradient comes back through the same pass that made the fake.
        fake, pull_back, g_batch_stats = jax.vjp(generate, g.params, has_aux=True)

        d_grads, (d_batch_stats, d_fake, d_real) = jax.grad(discriminator_loss, has_aux=True)(
            d.params, d.batch_stats, image, fake, target
        )
        updated_d = _update(d.replace(batch_stats=d_batch_stats), d_grads, parts.d_optimizer)

        opponent = updated_d if update_order == "sequential" else d.replace(batch_stats=d_batch_stats)
        fake_grad, (d_batch_stats, g_gan, g_l1) = jax.grad(fake_loss, has_aux=True)(fake, opponent, image, target)
        (g_grads,) = pull_back(fake_grad)
        updated_g = _update(g.replace(batch_stats=g_batch_stats), g_grads, parts.g_optimizer)

        metrics = {"g_gan": g_gan, "g_l1": g_l1, "d_real": d_real, "d_fake": d_fake}
        state = TrainState(
            step=state.step + 1,
            generator=updated_g,
            discriminator=updated_d.replace(batch_stats=d_batch_stats),
        )
        return state, metrics

    return train_step


def _apply(module: nn.Module, params, batch_stats, *args, **kwargs):
    """Training mode: (output, new batch_stats)."""
    variables = {"params": params, "batch_stats": batch_stats}
    output, updated = module.apply(variables, *args, mutable=["batch_stats"], **kwargs)
    return output, updated.get("batch_stats", batch_stats)


def _update(network: NetworkState, grads, optimizer: optax.GradientTransformation) -> NetworkState:
    updates, opt_state = optimizer.update(grads, network.opt_state, network.params)
    return network.replace(params=optax.apply_updates(network.params, updates), opt_state=opt_state)


def make_translate_step(
    generator: nn.Module, *, norm_stats: str = "instance", dropout: bool = True
) -> Callable[[Mapping[str, Any], jax.Array, jax.Array], jax.Array]:
    """Builds the pure inference step.

    Args:
      generator: the network.
      norm_stats: what normalises: "instance", each picture's own statistics, which is what the published systems do at
        batch size 1; "batch", those of all pictures that happen to share the batch; "running", training's averages.
      dropout: whether dropout stays on, as published (section 3.4 of the paper).

    Returns:
      f(variables, images, keys) -> outputs; images float32 (N, H, W, C) in [-1, 1], keys (N,) one a picture, outputs
      float32 (N, H, W, D) in [-1, 1]. Except under "batch", an output depends on its picture and its key alone.
    """
    if norm_stats not in NORM_STATS:
        raise ValueError(f"norm_stats {norm_stats!r}: must be one of {', '.join(NORM_STATS)}")

    def translate(variables, images, key):
        output, _ = generator.apply(
            variables,
            images,
            use_running_average=norm_stats == "running",
            deterministic=not dropout,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        return output

    def translate_batch(variables, images, keys):
        return translate(variables, images, keys[0])

    def translate_each(variables, images, keys):
        return jax.vmap(lambda image, key: translate(variables, image[None], key)[0])(images, keys)

    return translate_batch if norm_stats == "batch" else translate_each


def all_finite(tree: Any) -> jax.Array:
    """Whether every floating-point leaf is finite; a bool scalar."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(x).all() for x in leaves]).all()
