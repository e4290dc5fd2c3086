"""The PatchGAN discriminator of pix2pix (Isola et al. 2017, section 3.2.2 and appendix 6.1.2)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from pix2pix_jax.models.layers import Conv, DownConv, kernel_init, leaky_relu, needs_bias, normalize


class PatchDiscriminator(nn.Module):
    """Scores overlapping patches of a pair as real or generated.

    num_layers 1 to 5 give receptive fields of 16, 34, 70, 142 and 286 px (3, the default, is the published 70x70 with
    2,768,705 parameters for 6 channels in); 0 is the pixel discriminator of 1x1 convolutions.

    Attributes:
      features: width of the first layer; widths double to at most 8 times this.
      num_layers: strided convolutions, 0 to 5.
      norm: "batch", "instance" or "none"; the first and the last layer have none.
      dtype: of the computation (None: the input's); parameters and statistics stay float32.
    """

    features: int = 64
    num_layers: int = 3
    norm: str = "batch"
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array, candidate: jax.Array, *, use_running_average: bool = False) -> jax.Array:
        """Scores `candidate`, a target or a translation, given the input `image`.

        Args:
          image: (N, H, W, C) in [-1, 1].
          candidate: (N, H, W, D) in [-1, 1].
          use_running_average: normalise by the running statistics instead of the batch's own.

        Returns:
          float32 logits (N, h, w, 1), one a patch: 30x30 for 256x256 and num_layers 3; HxW for num_layers 0.
        """
        x = jnp.concatenate([image, candidate], axis=-1)

        def norm(x: jax.Array) -> jax.Array:
            return normalize(x, self.norm, use_running_average=use_running_average, dtype=self.dtype)

        if self.num_layers == 0:
            return self._pixel(x, norm)
        x = leaky_relu(DownConv(self.features, dtype=self.dtype, name="conv0")(x))
        for i in range(1, self.num_layers + 1):
            conv = DownConv if i < self.num_layers else Conv
            width = self.features * min(2**i, 8)
            x = conv(width, use_bias=needs_bias(self.norm), dtype=self.dtype, name=f"conv{i}")(x)
            x = leaky_relu(norm(x))
        logits = Conv(1, dtype=self.dtype, name=f"conv{self.num_layers + 1}")(x)
        return logits.astype(jnp.float32)

    def _pixel(self, x: jax.Array, norm) -> jax.Array:
        def conv(features: int, name: str, use_bias: bool = True) -> nn.Conv:
            return nn.Conv(
                features,
                (1, 1),
                use_bias=use_bias,
                kernel_init=kernel_init,
                dtype=self.dtype,
                name=name,
            )

        x = leaky_relu(conv(self.features, "conv0")(x))
        x = leaky_relu(norm(conv(self.features * 2, "conv1", needs_bias(self.norm))(x)))
        # The popular implementation gives this last 1x1 convolution a bias only where the norm has none.
        return conv(1, "conv2", needs_bias(self.norm))(x).astype(jnp.float32)
