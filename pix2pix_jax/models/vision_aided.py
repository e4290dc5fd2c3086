"""A discriminator that also sees candidates as a trained network does (Kumari et al. 2022, Vision-aided GAN).

What a network has learnt from a million photographs tells real from fake long before a discriminator has learnt as much
from a few hundred pairs, and it is not learnt by heart.
"""

import dataclasses
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from pix2pix_jax.models.convolutions.layers import Conv
from pix2pix_jax.models.network import Network
from pix2pix_jax.models.patchgan import MultiScaleDiscriminator

_HEAD_WIDTH = 64  # channels of a head's two layers


@dataclasses.dataclass(frozen=True)
class Backbone:
    """Describes a trained network, whose weights stay as they are.

    Attributes:
      activations: f(images (N, H, W, 3) in [-1, 1]) -> arrays (N, h, w, width), one for each head.
      widths: their channels.
    """

    activations: Callable[[jax.Array], Sequence[jax.Array]]
    widths: tuple[int, ...]


class _Head(Network):
    """Scores each place of a trained network's activations, given the input image at their size."""

    conditional: bool = True

    @nn.compact
    def __call__(self, image: jax.Array, activations: jax.Array, *, use_running_average: bool) -> jax.Array:
        def convolve(x: jax.Array, width: int, size: int, name: str) -> jax.Array:
            layer = Conv(width, size, pad=size // 2, dtype=self.dtype, name=name)
            return nn.SpectralNorm(layer)(x, update_stats=not use_running_average)

        # Layers differ in scale by more than the heads' learning rate makes good.
        x = activations * jax.lax.rsqrt(jnp.square(activations).mean(-1, keepdims=True) + 1e-6)
        x = self.leaky_relu(convolve(x, _HEAD_WIDTH, 1, "mix"))
        if self.conditional:
            shape = (len(image), *x.shape[1:3], image.shape[-1])
            x = jnp.concatenate([x, jax.image.resize(image, shape, "linear").astype(x.dtype)], axis=-1)
        x = self.leaky_relu(convolve(x, _HEAD_WIDTH, 3, "conv"))
        return convolve(x, 1, 1, "logits").astype(jnp.float32)


class VisionAidedDiscriminator(MultiScaleDiscriminator, kw_only=True):
    """Scores pairs by PatchGANs, and by one small head on each of a trained network's activations of the candidate.

    Heads have spectral norm; their scores count as those of further scales.

    Attributes:
      backbone: the trained network. Initialisation does not call it.
      (and those of `MultiScaleDiscriminator`)
    """

    backbone: Backbone
    num_scales: int = 1

    @nn.compact
    def __call__(
        self, image: jax.Array, candidate: jax.Array, *, use_running_average: bool = False
    ) -> tuple[jax.Array, ...]:
        """Scores as `PatchDiscriminator` does.

        Returns:
          float32 logits (N, h, w, 1): those of each scale from the full size down, then of each head, whose h and w are
          its activations'.
        """
        patches = MultiScaleDiscriminator(**self.fields_of(MultiScaleDiscriminator), name="patches")
        logits = [*patches(image, candidate, use_running_average=use_running_average)]
        if self.is_initializing():
            activations = [jnp.zeros((len(candidate), 1, 1, width)) for width in self.backbone.widths]
        else:
            activations = self.backbone.activations(candidate)
        fields = self.fields_of(Network)
        for i, x in enumerate(activations):
            head = _Head(**fields, conditional=self.conditional, name=f"head{i}")
            logits.append(head(image, x, use_running_average=use_running_average))
        return tuple(logits)
