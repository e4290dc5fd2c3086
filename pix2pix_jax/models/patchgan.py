"""The PatchGAN discriminator of pix2pix (Isola et al. 2017, section 3.2.2 and appendix 6.1.2)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from pix2pix_jax.errors import check_bounds, check_choice
from pix2pix_jax.models.convolutions.layers import PADDINGS, Conv, DownConv
from pix2pix_jax.models.network import Network


class PatchDiscriminator(Network):
    """Scores overlapping patches of a pair as real or generated.

    num_layers 1 to 5 give receptive fields of 16, 34, 70, 142 and 286 px (3, the default, is the published 70x70 with
    2,768,705 parameters for 6 channels in); 0 is the pixel discriminator of 1x1 convolutions. Widths double with depth
    to at most 8 times `features`. The first and the last layer have no norm.

    Attributes:
      num_layers: number of strided convolutions, 0 to 5.
      padding: padding of every convolution: "zero" as published, or "reflect".
      conditional: whether it sees the input image beside the candidate (cGAN); if not, only the candidate (the paper's
        GAN ablation).
      spectral_norm: whether to divide each kernel by its largest singular value (Miyato et al. 2018). One power
        iteration a pass estimates it; the estimate is kept in `batch_stats`.
      (and those of `Network`)
    """

    num_layers: int = 3
    padding: str = "zero"
    conditional: bool = True
    spectral_norm: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("num_layers", self.num_layers, range(6))
        check_choice("padding", self.padding, PADDINGS)

    @nn.compact
    def __call__(
        self, image: jax.Array, candidate: jax.Array, *, use_running_average: bool = False
    ) -> jax.Array | tuple[jax.Array, ...]:
        """Scores `candidate`, a target or a translation, given the input `image`.

        The activations of all layers but the last are sown as "features" in the collection "intermediates".

        Args:
          image: (N, H, W, C) in [-1, 1].
          candidate: (N, H, W, D) in [-1, 1].
          use_running_average: whether norms use the running statistics instead of the batch's own.

        Returns:
          float32 logits (N, h, w, 1), one for each patch: 30x30 for 256x256 and num_layers 3; HxW for num_layers 0.
        """
        x = jnp.concatenate([image, candidate], axis=-1) if self.conditional else candidate
        last = max(self.num_layers, 1) + 1
        for i in range(last):
            x = self._convolve(x, i, self.width(i), use_running_average, first=i == 0)
            if i:
                x = self.normalize(x, f"conv{i}_norm", use_running_average=use_running_average)
            x = self.leaky_relu(x)
            self.sow("intermediates", "features", x)
        # pytorch-CycleGAN-and-pix2pix: the pixel discriminator's last layer has a bias only where the middle one has.
        counts_as_last = self.num_layers > 0 or self.bias != "auto"
        return self._convolve(x, last, 1, use_running_average, last=counts_as_last).astype(jnp.float32)

    def _convolve(self, x: jax.Array, index: int, width: int, use_running_average: bool, **position: bool) -> jax.Array:
        options = {"use_bias": self.has_bias(**position), "dtype": self.dtype, "name": f"conv{index}"}
        if self.num_layers == 0:
            layer = Conv(width, 1, pad=0, **options)
        elif index < self.num_layers:
            layer = DownConv(width, padding=self.padding, **options)
        else:
            layer = Conv(width, padding=self.padding, **options)
        if self.spectral_norm:
            return nn.SpectralNorm(layer)(x, update_stats=not use_running_average)
        return layer(x)


class MultiScaleDiscriminator(PatchDiscriminator):
    """Scores pairs by equal PatchGANs at full, half, quarter ... size (Wang et al. 2018, pix2pixHD, section 3.2).

    Attributes:
      num_scales: number of sizes.
      (and those of `PatchDiscriminator`)
    """

    num_scales: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds("num_scales", self.num_scales, 1)

    @nn.compact
    def __call__(
        self, image: jax.Array, candidate: jax.Array, *, use_running_average: bool = False
    ) -> tuple[jax.Array, ...]:
        """Scores as `PatchDiscriminator` does; returns logits for each scale, from the full size down."""
        logits = []
        for k in range(self.num_scales):
            patch = PatchDiscriminator(**self.fields_of(PatchDiscriminator), name=f"scale{k}")
            logits.append(patch(image, candidate, use_running_average=use_running_average))
            image, candidate = _halve(image), _halve(candidate)
        return tuple(logits)


def _halve(x: jax.Array) -> jax.Array:
    """Pools by 3x3 averages with stride 2; padding does not count towards an average."""
    border = ((1, 1), (1, 1))
    return nn.avg_pool(x, (3, 3), (2, 2), border, count_include_pad=False)  # pyright: ignore[reportArgumentType]
