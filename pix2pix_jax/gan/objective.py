"""The objective: what each network minimises, as losses that are weighted, reduced and added up.

A loss is added in this file, as a field of `Objective` with its place in a method, and in configs/default.py.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pix2pix_jax.errors import check_bounds, check_choice
from pix2pix_jax.gan import losses

Metrics = dict[str, jax.Array]  # float32 scalars
Logits = Sequence[jax.Array]  # (N, h, w, 1), one array for each scale of the discriminator

_PHASES = 4  # the stride of AlexNet's first layer, in pixels
_FEATURE_SCALE = 4.0  # pix2pixHD weights each of the L + 1 layers of a scale by 4 / (L + 1), and all scales equally


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """Holds the losses and their weights; the defaults are those of pytorch-CycleGAN-and-pix2pix.

    The losses of a discriminator's scales are added up.

    Attributes:
      gan_loss: a key of `losses.GAN_LOSSES`.
      gan_weight: weight of the generator's GAN loss; 0 trains the generator without a discriminator.
      l1_weight: weight of mean |target - output|.
      l2_weight: weight of mean (target - output)^2.
      charbonnier_weight: weight of mean sqrt((target - output)^2 + 1e-6), a smooth L1.
      feature_weight: weight of feature matching (Wang et al. 2018, pix2pixHD, section 3.3, where it is 10).
      perceptual_weight: weight of the mean of `perceptual`.
      perceptual: f(output, target) -> (N,) distances of images as a network sees them, such as LPIPS. It is given both
        at a random place of a frame that is 3 pixels larger, since a network of stride 4 that sees them always at the
        same place lets a grid of 4 pixels pass (after Kettunen et al. 2019, E-LPIPS, who draw more changes).
      d_loss_scale: factor of the discriminator's loss on real plus fake: 0.5 as in section 3.3 of the paper; 1 in the
        paper's own program and in TensorFlow's tutorial.
      label_smoothing: the discriminator's label of real images is 1 minus this (Salimans et al. 2016).
      gradient_penalty: for "wgan-gp", weight of mean (|d critic / d candidate| - 1)^2 between real and fake (Gulrajani
        et al. 2017). The critic's value of an example is the mean of its logits.
      r1_weight: twice the weight of mean |d critic / d target|^2 (gamma of Mescheder et al. 2018).

    Raises:
      ValueError: a value cannot be used; the message begins with its field.
    """

    gan_loss: str = "vanilla"
    gan_weight: float = 1.0
    l1_weight: float = 100.0
    l2_weight: float = 0.0
    charbonnier_weight: float = 0.0
    feature_weight: float = 0.0
    perceptual_weight: float = 0.0
    perceptual: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    d_loss_scale: float = 0.5
    label_smoothing: float = 0.0
    gradient_penalty: float = 10.0
    r1_weight: float = 0.0

    @classmethod
    def from_config(cls, config: Any, *, perceptual: Callable | None = None) -> "Objective":
        """Takes all fields but `perceptual` from the attributes of the same names of a config, as a ConfigDict."""
        names = ("gan_loss", "gan_weight", "l1_weight", "l2_weight", "charbonnier_weight", "feature_weight")
        names += ("perceptual_weight", "d_loss_scale", "label_smoothing", "gradient_penalty", "r1_weight")
        return cls(perceptual=perceptual, **{name: getattr(config, name) for name in names})

    def __post_init__(self) -> None:
        check_choice("gan_loss", self.gan_loss, losses.GAN_LOSSES)
        check_bounds("label_smoothing", self.label_smoothing, 0, below=1)
        for name, value in vars(self).items():
            if name not in ("gan_loss", "perceptual"):  # weights and factors
                check_bounds(name, value, 0)
        if self.perceptual_weight and self.perceptual is None:
            raise ValueError("perceptual_weight: needs a distance, `perceptual`")
        if self.label_smoothing and self.gan_loss not in losses.WITH_LABELS:
            raise ValueError(
                f"label_smoothing: {self.gan_loss} has no labels; use {' or '.join(losses.WITH_LABELS)}, or 0"
            )
        if self.feature_weight and not self.gan_weight:
            raise ValueError("feature_weight: without a discriminator (gan_weight 0) there are no features; use 0")
        if not self.gan_weight and not any(weight for weight, _ in self._reconstruction_losses().values()):
            raise ValueError("gan_weight: all losses of the generator weigh 0; set one, as l1_weight")

    def _reconstruction_losses(self) -> dict[str, tuple[float, Callable[[jax.Array, jax.Array], jax.Array]]]:
        """Returns {metric: (weight, f(output, target), to be averaged)} of the losses that compare with the target."""
        return {
            "g_perceptual": (self.perceptual_weight, self.perceptual),
            "g_l1": (self.l1_weight, losses.l1),
            "g_l2": (self.l2_weight, losses.l2),
            "g_charbonnier": (self.charbonnier_weight, losses.charbonnier),
        }

    def reconstruction(self, output: jax.Array, target: jax.Array, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """Compares with the target.

        Args:
          output: generated images (N, H, W, D).
          target: real images (N, H, W, D).
          key: draws where `perceptual` sees them.

        Returns:
          (weighted loss, {"g_l1", ...}): unweighted metrics of losses that have a weight, always of g_l1.
        """
        total, metrics = jnp.zeros(()), {}
        for name, (weight, loss) in self._reconstruction_losses().items():
            if weight or name == "g_l1":
                pair = _framed(key, output, target) if name == "g_perceptual" else (output, target)
                metrics[name] = loss(*pair).mean()
                total = total + weight * metrics[name]
        return total, metrics

    def generator_gan_loss(self, fake_logits: Logits) -> tuple[jax.Array, Metrics]:
        """Returns (weighted GAN loss of the generator, {"g_gan": the unweighted one})."""
        loss = losses.GAN_LOSSES[self.gan_loss][1]
        gan = sum(loss(logits, 1.0).mean() for logits in fake_logits)
        return self.gan_weight * gan, {"g_gan": gan}

    def feature_matching(
        self, fake_features: Sequence[jax.Array], real_features: Sequence[jax.Array]
    ) -> tuple[jax.Array, Metrics]:
        """Compares the discriminator's activations, of all layers and scales; returns (weighted, {"g_features"})."""
        distance = sum(
            losses.l1(fake.astype(jnp.float32), jax.lax.stop_gradient(real).astype(jnp.float32)).mean()
            for fake, real in zip(fake_features, real_features, strict=True)
        )
        value = _FEATURE_SCALE / len(fake_features) * distance
        return self.feature_weight * value, {"g_features": value}

    def discriminator_loss(self, fake_logits: Logits, real_logits: Logits) -> tuple[jax.Array, Metrics]:
        """Returns (loss, {"d_fake", "d_real"}), without penalties; the metrics are not scaled by `d_loss_scale`."""
        loss = losses.GAN_LOSSES[self.gan_loss][0]
        fake = sum(loss(logits, 0.0).mean() for logits in fake_logits)
        real = sum(loss(logits, 1.0 - self.label_smoothing).mean() for logits in real_logits)
        return self.d_loss_scale * (fake + real), {"d_fake": fake, "d_real": real}

    def penalty(
        self, critic: Callable[[jax.Array], Logits], fake: jax.Array, target: jax.Array, key: jax.Array
    ) -> tuple[jax.Array | float, Metrics]:
        """Computes the gradient penalties of the discriminator.

        Args:
          critic: maps candidates (N, H, W, D) to their logits.
          fake: generated images (N, H, W, D), held constant.
          target: real images (N, H, W, D).
          key: draws the points between fake and target at which "wgan-gp" penalises.

        Returns:
          (sum of the weighted penalties, {"d_penalty": the same}); (0.0, {}) where there are none.
        """
        total = 0.0
        if self.gan_loss == "wgan-gp" and self.gradient_penalty:
            shares = interpolation_weights(key, len(fake)).reshape(-1, 1, 1, 1)
            mixed = shares * target + (1 - shares) * fake
            # The small number keeps the root's gradient finite where the critic is flat.
            norms = jnp.sqrt(squared_gradients(critic, mixed) + 1e-12)
            total += self.gradient_penalty * jnp.square(norms - 1).mean()
        if self.r1_weight:
            total += self.r1_weight / 2 * squared_gradients(critic, target).mean()
        return (total, {"d_penalty": total}) if isinstance(total, jax.Array) else (total, {})


def _framed(key: jax.Array, *images: jax.Array) -> list[jax.Array]:
    """Sets images (N, H, W, D), at the same random place, into zeros (N, H + 3, W + 3, D)."""
    most = _PHASES - 1
    begin = most - jax.random.randint(key, (2,), 0, _PHASES)
    n, height, width, channels = images[0].shape
    size = (n, height + most, width + most, channels)
    padded = (jnp.pad(image, ((0, 0), (most, most), (most, most), (0, 0))) for image in images)
    return [jax.lax.dynamic_slice(image, (0, *begin, 0), size) for image in padded]


def squared_gradients(critic: Callable[[jax.Array], Logits], candidate: jax.Array) -> jax.Array:
    """Returns (N,): for each candidate, the squared norm of the gradient of the critic's value by its pixels."""

    def value(candidate):
        return sum(logits.mean((1, 2, 3)).sum() for logits in critic(candidate))

    return jnp.square(jax.grad(value)(candidate)).sum((1, 2, 3))


def interpolation_weights(key: jax.Array, count: int) -> jax.Array:
    """Draws (count,) shares in [0, 1), of the target in each mixture with a fake."""
    return jax.random.uniform(key, (count,))
