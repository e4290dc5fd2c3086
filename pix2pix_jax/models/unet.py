"""The U-Net generator of pix2pix (Isola et al. 2017, section 3.2.1 and appendix 6.1)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from pix2pix_jax.models.layers import DownConv, UpConv, leaky_relu, needs_bias, normalize


class UNetGenerator(nn.Module):
    """Encoder-decoder with skip connections; every convolution is 4x4, stride 2.

    Defaults are those of the popular PyTorch implementation: no norm at the first layer, the bottleneck and the output;
    dropout on decoder layers 2 to num_downs - 4; skips enter the decoder before their activation, ahead of the
    upsampled features. At 256 px with 3 channels in and out it has 54,413,955 parameters.

    Attributes:
      out_channels: channels of the translated image.
      num_downs: halvings from image to bottleneck, at least 2; log2(image size) brings the bottleneck to 1x1, as
        published.
      features: width of the first layer; widths double to at most 8 times this.
      norm: "batch", "instance" or "none".
      dropout: rate on the inner decoder layers; 0 switches it off.
      dtype: of the computation (None: the input's); parameters and statistics stay float32.
    """

    out_channels: int = 3
    num_downs: int = 8
    features: int = 64
    norm: str = "batch"
    dropout: float = 0.5
    dtype: Any = None

    @nn.compact
    def __call__(
        self, image: jax.Array, *, use_running_average: bool = False, deterministic: bool = False
    ) -> jax.Array:
        """Translates images.

        Args:
          image: (N, H, W, C) in [-1, 1]; H and W divisible by 2**num_downs.
          use_running_average: normalise by the running statistics instead of the batch's own.
          deterministic: no dropout. Otherwise an rng named "dropout" is needed.

        Returns:
          (N, H, W, out_channels) float32 in [-1, 1].

        Raises:
          ValueError: H or W is not divisible by 2**num_downs.
        """
        multiple = 2**self.num_downs
        if image.shape[1] % multiple or image.shape[2] % multiple:
            raise ValueError(f"image of {image.shape[1]}x{image.shape[2]}: both sides must be multiples of {multiple}")

        def norm(x: jax.Array) -> jax.Array:
            return normalize(x, self.norm, use_running_average=use_running_average, dtype=self.dtype)

        innermost = self.num_downs - 1
        widths = [self.features * min(2**i, 8) for i in range(self.num_downs)]
        x, skips = image, []
        for i, width in enumerate(widths):
            x = leaky_relu(x) if i else x
            has_norm = 0 < i < innermost
            x = DownConv(width, use_bias=needs_bias(self.norm), dtype=self.dtype, name=f"down{i}")(x)
            x = norm(x) if has_norm else x
            skips.append(x)

        x = skips.pop()
        for i in reversed(range(1, self.num_downs)):
            x = UpConv(widths[i - 1], use_bias=needs_bias(self.norm), dtype=self.dtype, name=f"up{i}")(nn.relu(x))
            x = norm(x)
            if 4 <= i < innermost and self.dropout:
                x = nn.Dropout(self.dropout, deterministic=deterministic)(x)
            x = jnp.concatenate([skips.pop(), x], axis=-1)
        x = UpConv(self.out_channels, use_bias=True, dtype=self.dtype, name="up0")(nn.relu(x))
        return jnp.tanh(x.astype(jnp.float32))
