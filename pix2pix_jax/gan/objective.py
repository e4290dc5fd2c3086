"""What each network minimises: the losses of a recipe, weighed, reduced and added up."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from pix2pix_jax.gan import losses

Metrics = dict[str, jax.Array]  # float32 scalars

_FEATURE_SCALE = 4.0  # pix2pixHD weighs a scale's L + 1 layers by 4 / (L + 1) each, and its scales equally


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """A recipe's losses; the defaults are those of the popular PyTorch implementation.

    Logits are a sequence of maps (N, h, w, 1), one for each scale of the discriminator; their losses are added up.

    Attributes:
      gan_loss: a key of `losses.GAN_LOSSES`.
      gan_weight: of the generator's GAN loss; 0 trains the generator without a discriminator.
      l1_weight: of mean |target - output|.
      l2_weight: of its square.
      charbonnier_weight: of its smooth form.
      feature_weight: of feature matching (Wang et al. 2018, pix2pixHD, section 3.3, where it is 10).
      d_loss_scale: of the sum of the discriminator's losses on real and fake: 0.5 as section 3.3 of the paper has it; 1
        in the paper's own program and in TensorFlow's tutorial.
      label_smoothing: the discriminator's label of real pictures is 1 less this (Salimans et al. 2016).
      gradient_penalty: of "wgan-gp": weight of mean (|d critic / d candidate| - 1)^2 between real and fake (Gulrajani
        et al. 2017). The critic's value of an example is the mean of its logits.
      r1_weight: twice the weight of mean |d critic / d target|^2 (Mescheder et al. 2018's gamma).
    """

    gan_loss: str = "vanilla"
    gan_weight: float = 1.0
    l1_weight: float = 100.0
    l2_weight: float = 0.0
    charbonnier_weight: float = 0.0
    feature_weight: float = 0.0
    d_loss_scale: float = 0.5
    label_smoothing: float = 0.0
    gradient_penalty: float = 10.0
    r1_weight: float = 0.0

    def discriminator(
        self, fake_logits: Sequence[jax.Array], real_logits: Sequence[jax.Array]
    ) -> tuple[jax.Array, Metrics]:
        """(loss, {"d_fake", "d_real"}); without penalties."""
        loss = losses.GAN_LOSSES[self.gan_loss][0]
        fake = sum(loss(logits, 0.0).mean() for logits in fake_logits)
        real = sum(loss(logits, 1.0 - self.label_smoothing).mean() for logits in real_logits)
        return self.d_loss_scale * (fake + real), {"d_fake": fake, "d_real": real}

    def penalty(
        self, critic: Callable[[jax.Array], Sequence[jax.Array]], fake: jax.Array, target: jax.Array, key: jax.Array
    ) -> tuple[jax.Array | float, Metrics]:
        """(weighed penalties of the discriminator, {"d_penalty"} if there are any).

        Args:
          critic: candidates (N, H, W, D) -> their logits.
          fake: (N, H, W, D), not differentiated.
          target: (N, H, W, D).
          key: of the places between fake and target that "wgan-gp" looks at.
        """
        total = 0.0
        if self.gan_loss == "wgan-gp" and self.gradient_penalty:
            mixed = interpolate(fake, target, interpolation_weights(key, len(fake)))
            # The small number keeps the root's gradient finite where the critic is flat.
            norms = jnp.sqrt(squared_gradients(critic, mixed) + 1e-12)
            total += self.gradient_penalty * jnp.square(norms - 1).mean()
        if self.r1_weight:
            total += self.r1_weight / 2 * squared_gradients(critic, target).mean()
        return (total, {"d_penalty": total}) if isinstance(total, jax.Array) else (total, {})

    def reconstruction(self, output: jax.Array, target: jax.Array) -> tuple[jax.Array, Metrics]:
        """(weighed loss, {"g_l1", ...}), the metrics not weighed; g_l1 is there whatever its weight."""
        l1 = losses.l1(output, target).mean()
        loss, metrics = self.l1_weight * l1, {"g_l1": l1}
        for name in ("l2", "charbonnier"):
            weight = getattr(self, f"{name}_weight")
            if weight:
                value = getattr(losses, name)(output, target).mean()
                loss, metrics = loss + weight * value, metrics | {f"g_{name}": value}
        return loss, metrics

    def generator_gan_loss(self, fake_logits: Sequence[jax.Array]) -> tuple[jax.Array, Metrics]:
        """(weighed GAN loss of the generator, {"g_gan"})."""
        loss = losses.GAN_LOSSES[self.gan_loss][1]
        gan = sum(loss(logits, 1.0).mean() for logits in fake_logits)
        return self.gan_weight * gan, {"g_gan": gan}

    def feature_matching(
        self, fake_features: Sequence[jax.Array], real_features: Sequence[jax.Array]
    ) -> tuple[jax.Array, Metrics]:
        """(weighed loss, {"g_features"}); the features are those of all layers and scales."""
        pairs = [
            (fake.astype(jnp.float32), jax.lax.stop_gradient(real).astype(jnp.float32))
            for fake, real in zip(fake_features, real_features, strict=True)
        ]
        distance = sum(losses.l1(fake, real).mean() for fake, real in pairs)
        value = _FEATURE_SCALE / len(fake_features) * distance
        return self.feature_weight * value, {"g_features": value}


def squared_gradients(critic: Callable[[jax.Array], Sequence[jax.Array]], candidate: jax.Array) -> jax.Array:
    """(N,): for each example, the sum of squares of its critic's gradient by the candidate."""

    def value(candidate):
        return sum(logits.mean((1, 2, 3)).sum() for logits in critic(candidate))

    return jnp.square(jax.grad(value)(candidate)).sum((1, 2, 3))


def interpolation_weights(key: jax.Array, count: int) -> jax.Array:
    """(count,): how much of the target is in each mixture."""
    return jax.random.uniform(key, (count,))


def interpolate(fake: jax.Array, target: jax.Array, weights: jax.Array) -> jax.Array:
    weights = weights.reshape(-1, 1, 1, 1)
    return weights * target + (1 - weights) * fake
