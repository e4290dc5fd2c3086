"""Pure train and translate steps; the caller compiles them.

A train step is a function of (state, batch): its crops, flips and dropout depend only on the seed and `state.step`.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from pix2pix_jax.data import augment
from pix2pix_jax.data.files.value_range import ValueRange
from pix2pix_jax.errors import check_bounds, check_choice
from pix2pix_jax.gan.diff_augment import check_policies
from pix2pix_jax.gan.gradients import Examples, Gradients, accumulate_gradients
from pix2pix_jax.gan.objective import Metrics
from pix2pix_jax.gan.state import NetworkState, Parts, TrainState, random_streams
from pix2pix_jax.models.initialization import shapes_only

Batch = Mapping[str, jax.Array]  # "input", "target": (N, H, W, C) at load size, in the stored values


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepOptions:
    """Holds the options of a train step.

    Attributes:
      seed: seed of crops, flips and dropout.
      image_size: (height, width) in pixels of the random crop.
      mirror: whether to flip pairs left to right with probability one half.
      augmentation: random changes beyond crop and mirror.
      nearest: which of "input" and "target" are label maps, whose values must not be interpolated.
      values: what the stored values of "input" and "target" mean; uint8 in [0, 255] for those that are not named.
      update_order: "sequential" as in pytorch-CycleGAN-and-pix2pix: the discriminator first, then the generator
        against the updated discriminator. "simultaneous" as in TensorFlow's tutorial: both from the old weights.
      accumulate_steps: number of microbatches that a batch is cut into where it does not fit into memory; it divides
        the batch size. One update follows from the mean of their gradients. Norms, dropout, diff_augment and the
        penalty of "wgan-gp" see one microbatch at a time.
      remat: whether backward passes compute cheap values again instead of keeping them in memory (`models.remat`).
      diff_augment: how pairs are changed before the discriminator sees them, any of `gan.diff_augment.POLICIES`.
      ema_decay: decay of the generator's moving average, ema = decay * ema + (1 - decay) * params; 0 keeps none.

    Raises:
      ValueError: a value cannot be used; the message begins with its field.
    """

    seed: int
    image_size: tuple[int, int]
    mirror: bool = True
    augmentation: augment.Augmentation = dataclasses.field(default_factory=augment.Augmentation)
    nearest: Collection[str] = ()
    values: Mapping[str, ValueRange] = dataclasses.field(default_factory=dict)
    update_order: str = "sequential"
    accumulate_steps: int = 1
    remat: bool = False
    diff_augment: Collection[str] = ()
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        check_choice("update_order", self.update_order, ("sequential", "simultaneous"))
        check_bounds("seed", self.seed, 0)
        check_bounds("accumulate_steps", self.accumulate_steps, 1)
        check_bounds("ema_decay", self.ema_decay, 0, below=1)
        check_policies(self.diff_augment)


def make_train_step(
    parts: Parts, options: StepOptions, *, prepare: Callable[[Batch], Batch] = lambda batch: batch
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Builds the pure train step of pix2pix.

    Args:
      parts: networks, optimisers and objective.
      options: what the step does with a batch.
      prepare: called with the augmented batch, float32 in [-1, 1]; places it on the mesh, changes its colour space.

    Returns:
      f(state, batch) -> (state, metrics). The metrics are the unweighted losses g_gan, g_l1 (in [-1, 1] units), d_real
      and d_fake, and those of the objective's other terms. Without a GAN loss the discriminator is left as it is.
    """
    accumulate = functools.partial(accumulate_gradients, count=options.accumulate_steps)
    gradients = Gradients(parts=parts, remat=options.remat, diff_augment=options.diff_augment)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(random_streams(options.seed)[1], state.step)
        augment_key, dropout_key, judge_key = jax.random.split(key, 3)
        batch = prepare(_augment(batch, augment_key, options))
        examples = Examples(batch["input"], batch["target"], dropout_key, judge_key)
        g, d = state.generator, state.discriminator
        generate = gradients.generate
        if options.accumulate_steps == 1:
            # The generator runs forward once: its gradient comes back through the pass that made the fake. Microbatches
            # run it twice, as no pass is kept from the discriminator's turn to the generator's.
            generated = generate(g, examples)
            generate = lambda *_: generated  # noqa: E731

        def d_gradient(batch_stats, part):
            return gradients.of_discriminator(d.replace(batch_stats=batch_stats), part, generate(g, part).fake)

        new_d, opponent, d_metrics = d, d, {}
        if parts.objective.gan_weight:
            d_grads, d_stats, d_metrics = accumulate(d_gradient, d.batch_stats, examples)
            new_d = _update(d.replace(batch_stats=d_stats), d_grads, parts.d_optimizer)
            opponent = new_d if options.update_order == "sequential" else new_d.replace(params=d.params)

        def g_gradient(batch_stats, part):
            g_stats, d_stats = batch_stats
            generated = generate(g.replace(batch_stats=g_stats), part)
            grads, d_stats, metrics = gradients.of_generator(opponent.replace(batch_stats=d_stats), part, generated)
            return grads, (generated.batch_stats, d_stats), metrics

        g_grads, batch_stats, g_metrics = accumulate(g_gradient, (g.batch_stats, opponent.batch_stats), examples)
        new_g = _update(g.replace(batch_stats=batch_stats[0]), g_grads, parts.g_optimizer)
        new_d = new_d.replace(batch_stats=batch_stats[1])
        ema = state.ema
        if options.ema_decay:
            ema = optax.incremental_update(new_g.params, ema, 1 - options.ema_decay)
        return TrainState(step=state.step + 1, generator=new_g, discriminator=new_d, ema=ema), g_metrics | d_metrics

    return train_step


def _augment(batch: Batch, key: jax.Array, options: StepOptions) -> Batch:
    return augment.crop_and_mirror(
        batch,
        key,
        size=options.image_size,
        mirror=options.mirror,
        more=options.augmentation,
        nearest=options.nearest,
        values=options.values,
    )


def _update(network: NetworkState, grads: Any, optimizer: optax.GradientTransformation) -> NetworkState:
    updates, opt_state = optimizer.update(grads, network.opt_state, network.params)
    return network.replace(params=optax.apply_updates(network.params, updates), opt_state=opt_state)


def make_translate_step(
    generator: nn.Module, *, norm_stats: str = "instance", dropout: bool = True
) -> Callable[[Mapping[str, Any], jax.Array, jax.Array], jax.Array]:
    """Builds the pure inference step.

    Args:
      generator: the network.
      norm_stats: the statistics that norms use: "instance", those of each picture, as the published systems do at
        batch size 1; "batch", those of all pictures in the batch; "running", the averages of training.
      dropout: whether dropout stays on, as published (section 3.4 of the paper).

    Returns:
      f(variables, images, keys) -> outputs: images float32 (N, H, W, C) in [-1, 1], keys (N,), one for each picture,
      outputs float32 (N, H, W, D) in [-1, 1]. Except under "batch", an output depends only on its picture and its key.

    Raises:
      ValueError: unknown `norm_stats`.
    """
    check_choice("norm_stats", norm_stats, ("batch", "instance", "running"))
    running = norm_stats == "running"
    apply = functools.partial(generator.apply, deterministic=not dropout, mutable=["batch_stats"])

    def translate(variables, images, key):
        with shapes_only():
            return apply(variables, images, use_running_average=running, rngs={"dropout": key})[0]

    def translate_all(variables, images, keys):
        # One picture's program is faster on CPUs without vmap. `len` refuses a size that is not known yet.
        if norm_stats == "batch" or images.shape[0] == 1:
            return translate(variables, images, keys[0])
        return jax.vmap(lambda image, key: translate(variables, image[None], key)[0])(images, keys)

    return translate_all


def all_finite(tree: Any) -> jax.Array:
    """Returns a bool scalar: whether every floating-point leaf is finite."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(x).all() for x in leaves]).all()
