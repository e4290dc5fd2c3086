"""The ResNet generator of pytorch-CycleGAN-and-pix2pix, `resnet_6blocks` and `resnet_9blocks` (Johnson et al. 2016)."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from pix2pix_jax.errors import check_bounds
from pix2pix_jax.models.convolutions.layers import Conv, DownConv, UpConv
from pix2pix_jax.models.network import Network, check_divisible


class ResNetGenerator(Network):
    """Translates by two halvings, residual blocks at a quarter of the size, and two doublings.

    The 7x7 convolutions at both ends and the blocks pad by reflection, the halvings and doublings by zeros.

    Attributes:
      out_channels: channels of the translated image.
      num_blocks: number of residual blocks, 6 or 9 as published.
      dropout: dropout rate between the two convolutions of a block; 0 switches it off.
      (and those of `Network`)
    """

    out_channels: int = 3
    num_blocks: int = 9
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds("num_blocks", self.num_blocks, 1, 64)  # each is traced and compiled
        check_bounds("dropout", self.dropout, 0, below=1)

    @nn.compact
    def __call__(
        self,
        image: jax.Array,
        *,
        use_running_average: bool = False,
        deterministic: bool = False,
        start: int = 0,
        inner: tuple[int, Callable[[jax.Array], jax.Array]] | None = None,
    ) -> jax.Array:
        """Translates as `UNetGenerator` does; H and W must be divisible by 4. The inner layers, `start` or
        `inner` = 2, are the residual blocks.
        """
        if not start:
            check_divisible(image, 4)

        def layer(x: jax.Array, conv: type[nn.Module], name: str, width: int, **options) -> jax.Array:
            x = conv(width, use_bias=self.has_bias(), dtype=self.dtype, name=name, **options)(x)
            return nn.relu(self.normalize(x, f"{name}_norm", use_running_average=use_running_average))

        def blocks(x: jax.Array) -> jax.Array:
            for i in range(self.num_blocks):
                block = ResidualBlock(**self.fields_of(Network), dropout=self.dropout, name=f"block{i}")
                x = block(x, use_running_average=use_running_average, deterministic=deterministic)
            return x

        if start:
            return blocks(image)
        wide = {"size": 7, "pad": 3, "padding": "reflect"}
        x = layer(image, Conv, "stem", self.features, **wide)
        for i in range(2):
            x = layer(x, DownConv, f"down{i}", self.features * 2 ** (i + 1), size=3)
        x = inner[1](x) if inner else blocks(x)
        for i in reversed(range(2)):
            x = layer(x, UpConv, f"up{i}", self.features * 2**i, size=3)
        x = Conv(self.out_channels, use_bias=self.has_bias(last=True), dtype=self.dtype, name="head", **wide)(x)
        return jnp.tanh(x.astype(jnp.float32))


class ResidualBlock(Network):
    """Computes x + norm(conv(dropout(relu(norm(conv(x)))))), with 3x3 convolutions and reflection padding."""

    dropout: float = 0.5

    @nn.compact
    def __call__(self, x: jax.Array, *, use_running_average: bool, deterministic: bool) -> jax.Array:
        def layer(x: jax.Array, index: int) -> jax.Array:
            options = {"use_bias": self.has_bias(), "dtype": self.dtype, "name": f"conv{index}"}
            x = Conv(x.shape[-1], 3, padding="reflect", **options)(x)
            return self.normalize(x, f"norm{index}", use_running_average=use_running_average)

        y = nn.relu(layer(x, 0))
        if self.dropout:
            y = nn.Dropout(self.dropout, deterministic=deterministic)(y)
        return x + layer(y, 1)
