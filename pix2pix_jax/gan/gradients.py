"""The gradients of both networks' losses: over a batch at once, or part by part where it does not fit into memory."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from pix2pix_jax.gan.objective import Metrics, Objective
from pix2pix_jax.gan.state import NetworkState
from pix2pix_jax.models.remat import recompute_the_rest

Tree = Any
Stats = TypeVar("Stats")  # the batch_stats of one network or of both


class Examples(flax.struct.PyTreeNode):
    """What the networks see of a batch, or of a part of it, and the keys of what is drawn for it.

    Attributes:
      image: (N, H, W, C) float32 in [-1, 1].
      target: (N, H, W, D), likewise.
      dropout_key: of the generator's dropout.
      penalty_key: of the places at which "wgan-gp" penalises the critic.
    """

    image: jax.Array
    target: jax.Array
    dropout_key: jax.Array
    penalty_key: jax.Array


@dataclasses.dataclass(frozen=True)
class Generated:
    """A pass of the generator: its pictures, its new batch_stats, and the way from their gradient to the params'."""

    fake: jax.Array
    batch_stats: Tree
    vjp_fn: Callable[[jax.Array], tuple[Tree]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gradients:
    """The gradients of two networks by an objective.

    Attributes:
      generator, discriminator: the networks.
      objective: what they minimise.
      remat: whether the backward pass computes again what is cheap, instead of finding it in memory (`models.remat`).
    """

    generator: nn.Module
    discriminator: nn.Module
    objective: Objective
    remat: bool = False

    def generate(self, g: NetworkState, examples: Examples) -> Generated:
        """Runs the generator; where nobody calls `vjp_fn`, what it would need is not kept."""

        def forward(params: Tree) -> tuple[jax.Array, Tree]:
            variables = g.replace(params=params).variables
            fake, updated = self._apply(
                self.generator, variables, examples.image, rngs={"dropout": examples.dropout_key}
            )
            return fake, updated.get("batch_stats", g.batch_stats)

        fake, vjp_fn, batch_stats = jax.vjp(forward, g.params, has_aux=True)
        return Generated(fake, batch_stats, vjp_fn)

    def of_discriminator(self, d: NetworkState, examples: Examples, fake: jax.Array) -> tuple[Tree, Tree, Metrics]:
        """(by its params, its new batch_stats, metrics); the statistics see first the fake, then the real pictures."""
        image, target = examples.image, examples.target

        def loss(params):
            on_fake = self._judge(d.replace(params=params), image, fake)
            after_fake = d.replace(params=params, batch_stats=on_fake.batch_stats)
            on_real = self._judge(after_fake, image, target)
            value, metrics = self.objective.discriminator(on_fake.logits, on_real.logits)

            def critic(candidate):
                return self._judge(after_fake, image, candidate).logits

            penalty, penalty_metrics = self.objective.penalty(critic, fake, target, examples.penalty_key)
            return value + penalty, (on_real.batch_stats, metrics | penalty_metrics)

        grads, (batch_stats, metrics) = jax.grad(loss, has_aux=True)(d.params)
        return grads, batch_stats, metrics

    def of_generator(self, d: NetworkState, examples: Examples, generated: Generated) -> tuple[Tree, Tree, Metrics]:
        """(by its params, the new batch_stats of its opponent `d`, metrics)."""

        def loss(fake):
            return self._generator_loss(d, examples, fake)

        fake_grad, (d_batch_stats, metrics) = jax.grad(loss, has_aux=True)(generated.fake)
        (grads,) = generated.vjp_fn(fake_grad)
        return grads, d_batch_stats, metrics

    def _generator_loss(self, d: NetworkState, examples: Examples, fake: jax.Array):
        """(loss, (the discriminator's batch_stats after it, metrics))."""
        objective = self.objective
        loss, metrics = objective.reconstruction(fake, examples.target)
        if not objective.gan_weight:
            return loss, (d.batch_stats, metrics)
        on_fake = self._judge(d, examples.image, fake)
        terms = [objective.generator_gan_loss(on_fake.logits)]
        if objective.feature_weight:
            real_features = self._judge(d, examples.image, examples.target).features
            terms.append(objective.feature_matching(on_fake.features, real_features))
        for value, more in terms:
            loss, metrics = loss + value, metrics | more
        return loss, (on_fake.batch_stats, metrics)

    def _judge(self, d: NetworkState, image: jax.Array, candidate: jax.Array) -> "DiscriminatorOutput":
        logits, updated = self._apply(self.discriminator, d.variables, image, candidate)
        return DiscriminatorOutput(
            logits=logits if isinstance(logits, tuple) else (logits,),
            features=jax.tree.leaves(updated.get("intermediates", {})),
            batch_stats=updated.get("batch_stats", d.batch_stats),
        )

    def _apply(self, module: nn.Module, variables: Tree, *images: jax.Array, rngs: Tree = None) -> tuple[Any, Tree]:
        """(outputs, {"batch_stats", "intermediates"})."""

        def apply(variables, images, rngs):
            return module.apply(variables, *images, rngs=rngs, mutable=["batch_stats", "intermediates"])

        if self.remat:
            apply = recompute_the_rest(apply)
        return apply(variables, images, rngs)


class DiscriminatorOutput(flax.struct.PyTreeNode):
    """What a discriminator says of a batch: maps of logits by scale, the features before them, its new batch_stats."""

    logits: tuple[jax.Array, ...]
    features: list[jax.Array]
    batch_stats: Any


def accumulate_gradients(
    gradient: Callable[[Stats, Examples], tuple[Tree, Stats, Metrics]], stats: Stats, examples: Examples, count: int
) -> tuple[Tree, Stats, Metrics]:
    """`gradient` over the examples in `count` parts, one after the other.

    Args:
      gradient: f(stats, part) -> (gradients, new stats, metrics), the first and the last being means over examples.
      stats: what the first part starts with; each other starts with those that the one before left.
      examples: a batch whose size `count` divides.
      count: 1 calls `gradient` with the examples themselves.

    Returns:
      (mean gradients, stats after the last part, mean metrics).
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
    """(count, ...) of everything; part j has the examples j, j + count, j + 2 count ...

    A batch whose examples are spread over devices in contiguous shares is so split on each device by itself, and parts
    are the same however many devices there are.
    """

    def split(x: jax.Array) -> jax.Array:
        return x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1)

    def keys(key: jax.Array) -> jax.Array:
        return jax.vmap(lambda part: jax.random.fold_in(key, part))(jnp.arange(count))

    return Examples(
        image=split(examples.image),
        target=split(examples.target),
        dropout_key=keys(examples.dropout_key),
        penalty_key=keys(examples.penalty_key),
    )
