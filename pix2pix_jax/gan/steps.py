"""Pure train and translate steps; the caller compiles them.

A train step is a function of (state, batch): its crops, flips and dropout depend on the seed and `state.step` alone.
"""

import dataclasses
import functools
import types
from collections.abc import Callable, Collection, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from pix2pix_jax.data import augment
from pix2pix_jax.data.files.value_range import ValueRange
from pix2pix_jax.gan.gradients import Examples, Gradients, accumulate_gradients
from pix2pix_jax.gan.objective import Metrics, Objective
from pix2pix_jax.gan.state import NetworkState, TrainState, random_streams

Batch = Mapping[str, jax.Array]  # "input", "target": (N, H, W, C) at load size, as stored

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
    augmentation: augment.Augmentation = augment.Augmentation(),  # noqa: B008, it is immutable
    nearest: Collection[str] = (),
    objective: Objective = Objective(),  # noqa: B008, it is immutable
    update_order: str = "sequential",
    accumulate_steps: int = 1,
    remat: bool = False,
    ema_decay: float = 0.0,
    values: Mapping[str, ValueRange] = types.MappingProxyType({}),
    prepare: Callable[[Batch], Batch] = lambda batch: batch,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Builds the pure train step of pix2pix.

    Args:
      parts: networks and optimisers.
      seed: of crops, flips and dropout.
      image_size: (H, W) of the random crop.
      mirror: whether to flip pairs with probability one half.
      augmentation: changes beyond crop and mirror.
      nearest: which of "input" and "target" hold labels, between which there is nothing.
      objective: the losses and their weights.
      update_order: "sequential" as the popular PyTorch implementation (the discriminator first, then the generator
        against the updated discriminator) or "simultaneous" as TensorFlow's tutorial (both from the old weights).
      accumulate_steps: in how many parts a batch is taken, one after the other, where it does not fit into memory; one
        update follows from the mean of their gradients. It divides the batch size. What a part is normalised by, its
        dropout and the places of "wgan-gp"'s penalty are its own.
      remat: whether backward passes compute again what is cheap instead of finding it in memory (`models.remat`).
      ema_decay: of the generator's moving average, which the state must hold: ema = decay * ema + (1 - decay) * params.
      values: what the stored values of "input" and "target" mean; uint8 in [0, 255] where nothing is said.
      prepare: applied to the augmented batch, float32 in [-1, 1]; places it on the mesh, changes its colour space.

    Returns:
      f(state, batch) -> (state, metrics) with the unweighed losses g_gan, g_l1 ([-1, 1] units), d_real, d_fake, and
      those that the objective has beside them. Without GAN loss the discriminator is left as it is.
    """
    steps_key = random_streams(seed)[1]
    if update_order not in UPDATE_ORDERS:
        raise ValueError(f"update_order {update_order!r}: must be one of {', '.join(UPDATE_ORDERS)}")

    gradients = Gradients(
        generator=parts.generator, discriminator=parts.discriminator, objective=objective, remat=remat
    )
    jitter = functools.partial(
        augment.crop_and_mirror, size=image_size, mirror=mirror, more=augmentation, nearest=nearest, values=values
    )

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        augment_key, dropout_key, penalty_key = jax.random.split(jax.random.fold_in(steps_key, state.step), 3)
        batch = prepare(jitter(batch, augment_key))
        examples = Examples(
            image=batch["input"], target=batch["target"], dropout_key=dropout_key, penalty_key=penalty_key
        )
        g, d = state.generator, state.discriminator
        generate = gradients.generate
        if accumulate_steps == 1:
            # The generator runs forward once: its gradient comes back through the same pass that made the fake. Parts
            # run it twice, as no pass is kept from the discriminator's turn to the generator's.
            generated = generate(g, examples)
            generate = lambda *_: generated  # noqa: E731

        def of_discriminator(batch_stats, part):
            fake = generate(g, part).fake
            return gradients.of_discriminator(state.discriminator.replace(batch_stats=batch_stats), part, fake)

        opponent, d_metrics = d, {}
        if objective.gan_weight:
            d_grads, d_stats, d_metrics = accumulate_gradients(
                of_discriminator, d.batch_stats, examples, accumulate_steps
            )
            d = _update(d.replace(batch_stats=d_stats), d_grads, parts.d_optimizer)
            opponent = d if update_order == "sequential" else d.replace(params=state.discriminator.params)

        def of_generator(batch_stats, part):
            g_stats, d_stats = batch_stats
            generated = generate(g.replace(batch_stats=g_stats), part)
            grads, d_stats, metrics = gradients.of_generator(opponent.replace(batch_stats=d_stats), part, generated)
            return grads, (generated.batch_stats, d_stats), metrics

        batch_stats = (g.batch_stats, opponent.batch_stats)
        g_grads, (g_stats, d_stats), g_metrics = accumulate_gradients(
            of_generator, batch_stats, examples, accumulate_steps
        )
        g = _update(g.replace(batch_stats=g_stats), g_grads, parts.g_optimizer)
        state = TrainState(
            step=state.step + 1,
            generator=g,
            discriminator=d.replace(batch_stats=d_stats),
            ema=optax.incremental_update(g.params, state.ema, 1 - ema_decay) if ema_decay else state.ema,
        )
        return state, g_metrics | d_metrics

    return train_step


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
