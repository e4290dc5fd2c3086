"""The gradients of both networks' losses, of a whole batch or accumulated over microbatches."""

import dataclasses
import functools
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from pix2pix_jax.gan.diff_augment import diff_augment
from pix2pix_jax.gan.objective import Metrics
from pix2pix_jax.gan.state import NetworkState, Parts
from pix2pix_jax.models.initialization import shapes_only
from pix2pix_jax.models.remat import recompute_the_rest

Tree = Any
Stats = TypeVar("Stats")  # the batch_stats of one network or of both


class Examples(flax.struct.PyTreeNode):
    """Holds the examples of a batch or microbatch, and the random keys that go with them."""

    image: jax.Array  # inputs (N, H, W, C), float32 in [-1, 1]
    target: jax.Array  # targets (N, H, W, D), float32 in [-1, 1]
    dropout_key: jax.Array  # draws the generator's dropout
    judge_key: jax.Array  # draws how the losses' networks see images, and where "wgan-gp" penalises the critic


class Generated(NamedTuple):
    """Holds what a forward pass of the generator gives."""

    fake: jax.Array  # generated images (N, H, W, D) in [-1, 1]
    batch_stats: Tree  # the generator's running statistics after the pass
    vjp_fn: Callable[[jax.Array], tuple[Tree]]  # (gradient of a loss by `fake`) -> (its gradient by the params,)


class DiscriminatorOutput(NamedTuple):
    """Holds what a forward pass of the discriminator gives."""

    logits: tuple[jax.Array, ...]  # (N, h, w, 1), one array for each scale
    features: list[jax.Array]  # activations of all layers but the last, of all scales
    batch_stats: Tree  # the discriminator's running statistics after the pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gradients:
    """Computes the gradients of both networks' losses by their params.

    Attributes:
      parts: networks and objective.
      remat: whether the backward pass computes cheap values again instead of keeping them in memory (`models.remat`).
      diff_augment: how pairs are changed before the discriminator sees them (`gan.diff_augment`).
    """

    parts: Parts
    remat: bool = False
    diff_augment: Collection[str] = ()

    def generate(self, g: NetworkState, examples: Examples) -> Generated:
        """Runs the generator; a compiled step that does not call `vjp_fn` does not keep the values that it needs."""

        def forward(params: Tree) -> tuple[jax.Array, Tree]:
            variables, rngs = g.replace(params=params).variables, {"dropout": examples.dropout_key}
            fake, updated = self._apply(self.parts.generator, variables, examples.image, rngs=rngs)
            return fake, updated.get("batch_stats", g.batch_stats)

        fake, vjp_fn, batch_stats = jax.vjp(forward, g.params, has_aux=True)
        return Generated(fake, batch_stats, vjp_fn)

    def of_discriminator(self, d: NetworkState, examples: Examples, fake: jax.Array) -> tuple[Tree, Tree, Metrics]:
        """Differentiates the discriminator's loss and penalties by its params.

        Its statistics see the fake images first, then the real ones.

        Returns:
          (gradients, the discriminator's new batch_stats, metrics).
        """
        target, key = examples.target, jax.random.fold_in(examples.judge_key, 1)

        def loss(params):
            judge = functools.partial(self._judge, image=examples.image, key=key)
            on_fake = judge(d.replace(params=params), candidate=fake)
            judge = functools.partial(judge, d.replace(params=params, batch_stats=on_fake.batch_stats))
            on_real = judge(candidate=target)
            value, metrics = self.parts.objective.discriminator_loss(on_fake.logits, on_real.logits)
            penalty, penalty_metrics = self.parts.objective.penalty(
                lambda candidate: judge(candidate=candidate).logits, fake, target, examples.judge_key
            )
            return value + penalty, (on_real.batch_stats, metrics | penalty_metrics)

        grads, (batch_stats, metrics) = jax.grad(loss, has_aux=True)(d.params)
        return grads, batch_stats, metrics

    def of_generator(self, d: NetworkState, examples: Examples, generated: Generated) -> tuple[Tree, Tree, Metrics]:
        """Differentiates the generator's loss, judged by the discriminator `d`, by the generator's params.

        Returns:
          (gradients, the discriminator's new batch_stats, metrics).
        """
        objective = self.parts.objective
        judge = functools.partial(self._judge, d, image=examples.image, key=jax.random.fold_in(examples.judge_key, 2))

        def loss(fake):
            value, metrics = objective.reconstruction(fake, examples.target, jax.random.fold_in(examples.judge_key, 3))
            if not objective.gan_weight:
                return value, (d.batch_stats, metrics)
            on_fake = judge(candidate=fake)
            terms = [objective.generator_gan_loss(on_fake.logits)]
            if objective.feature_weight:
                real_features = judge(candidate=examples.target).features
                terms.append(objective.feature_matching(on_fake.features, real_features))
            for term, more in terms:
                value, metrics = value + term, metrics | more
            return value, (on_fake.batch_stats, metrics)

        fake_grad, (d_batch_stats, metrics) = jax.grad(loss, has_aux=True)(generated.fake)
        (grads,) = generated.vjp_fn(fake_grad)
        return grads, d_batch_stats, metrics

    def _judge(self, d: NetworkState, *, image: jax.Array, candidate: jax.Array, key: jax.Array) -> DiscriminatorOutput:
        image, candidate = diff_augment(image, candidate, key, self.diff_augment)
        logits, updated = self._apply(self.parts.discriminator, d.variables, image, candidate)
        return DiscriminatorOutput(
            logits=logits if isinstance(logits, tuple) else (logits,),
            features=jax.tree.leaves(updated.get("intermediates", {})),
            batch_stats=updated.get("batch_stats", d.batch_stats),
        )

    def _apply(self, module: nn.Module, variables: Tree, *images: jax.Array, rngs: Tree = None) -> tuple[Any, Tree]:
        """Returns (outputs, {"batch_stats", "intermediates"})."""
        apply = functools.partial(module.apply, mutable=["batch_stats", "intermediates"])
        if self.remat:
            apply = recompute_the_rest(apply)
        with shapes_only():
            return apply(variables, *images, rngs=rngs)


def accumulate_gradients(
    gradient: Callable[[Stats, Examples], tuple[Tree, Stats, Metrics]], stats: Stats, examples: Examples, count: int
) -> tuple[Tree, Stats, Metrics]:
    """Averages gradients and metrics over `count` microbatches, taken one after the other.

    Args:
      gradient: f(stats, microbatch) -> (gradients, new stats, metrics); gradients and metrics are means over examples.
      stats: batch_stats before the first microbatch; each passes its new ones on to the next.
      examples: a batch whose size `count` divides.
      count: number of microbatches; with 1, `gradient` is called with the examples themselves.

    Returns:
      (mean gradients, stats after the last microbatch, mean metrics).
    """
    if count == 1:
        return gradient(stats, examples)

    def add(carry, part):
        total, stats = carry
        grads, stats, metrics = gradient(stats, part)
        return (jax.tree.map(jnp.add, total, (grads, metrics)), stats), None

    parts = _split(examples, count)
    grads, _, metrics = jax.eval_shape(gradient, stats, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (grads, metrics))
    (total, stats), _ = jax.lax.scan(add, (zeros, stats), parts)
    grads, metrics = jax.tree.map(lambda x: x / count, total)
    return grads, stats, metrics


def _split(examples: Examples, count: int) -> Examples:
    """Adds a leading axis (count, ...); microbatch j has the examples j, j + count, j + 2 count ...

    The batch is spread over devices in contiguous shares. Strided microbatches take the same number of examples from
    each share, so no example moves to another device, and they are the same for any number of devices.
    """

    def split(x: jax.Array) -> jax.Array:
        return x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1)

    def keys(key: jax.Array) -> jax.Array:
        return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))

    image, target = split(examples.image), split(examples.target)
    return Examples(image, target, keys(examples.dropout_key), keys(examples.judge_key))
