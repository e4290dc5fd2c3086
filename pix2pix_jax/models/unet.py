"""The U-Net generator of pix2pix (Isola et al. 2017, section 3.2.1 and appendix 6.1)."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from pix2pix_jax.errors import check_bounds, check_choice
from pix2pix_jax.models.convolutions.layers import DownConv, UpConv
from pix2pix_jax.models.network import Network, check_divisible

DECODER_ACTIVATIONS = ("after_concat", "before_concat")
MIN_DOWNS, MAX_DOWNS = 2, 10


class UNetGenerator(Network):
    """Translates by an encoder-decoder with skip connections; every convolution is 4x4 with stride 2.

    Defaults are those of pytorch-CycleGAN-and-pix2pix: no norm at the first layer, the bottleneck and the output;
    dropout on decoder layers 2 to num_downs - 4; skips enter the decoder before their activation, ahead of the
    upsampled features. At 256 px with 3 channels in and out it has 54,413,955 parameters. Widths double with depth to
    at most 8 times `features`.

    Attributes:
      out_channels: channels of the translated image.
      num_downs: number of halvings from image to bottleneck, 2 to 10; log2(image size) makes a bottleneck of 1x1
        pixel, as published.
      skips: whether there are skip connections; False is the paper's encoder-decoder ablation.
      dropout: dropout rate; 0 switches it off.
      dropout_layers: decoder layers that have dropout, 1 being the innermost. None: 2 to num_downs - 4; the paper's own
        program has it on 1, 2 and 3.
      bottleneck_norm: whether to normalise the bottleneck too, as in TensorFlow's tutorial. At batch size 1 and 1x1
        pixel that leaves nothing but the norm's bias (erratum of the paper).
      decoder_activation: "after_concat": ReLU acts on skip and upsampled features together. "before_concat": it acts
        on the upsampled ones, and skips keep the encoder's leaky ReLU (TensorFlow's tutorial).
      (and those of `Network`)
    """

    out_channels: int = 3
    num_downs: int = 8
    skips: bool = True
    dropout: float = 0.5
    dropout_layers: tuple[int, ...] | None = None
    bottleneck_norm: bool = False
    decoder_activation: str = "after_concat"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("decoder_activation", self.decoder_activation, DECODER_ACTIVATIONS)
        check_bounds("dropout", self.dropout, 0, below=1)
        if not MIN_DOWNS <= self.num_downs <= MAX_DOWNS:
            raise ValueError(f"num_downs: {self.num_downs}; must be from {MIN_DOWNS} to {MAX_DOWNS}")
        if not all(type(n) is int and 1 <= n < self.num_downs for n in self.dropout_layers or ()):
            raise ValueError(
                f"dropout_layers: {self.dropout_layers}; must be decoder layers from 1 to {self.num_downs - 1}"
            )

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
        """Translates images.

        Args:
          image: (N, H, W, C) in [-1, 1]; H and W divisible by 2**num_downs.
          use_running_average: whether norms use the running statistics instead of the batch's own.
          deterministic: whether to leave dropout out. If not, an rng named "dropout" is needed.
          start: runs the layers from this depth on alone: `image` is what enters down{start}, and returned is what
            up{start} hands to the layer outside of it.
          inner: (depth, f): calls f in place of the layers from this depth on.

        Returns:
          (N, H, W, out_channels) float32 in [-1, 1].

        Raises:
          ValueError: H or W is not divisible by 2**num_downs.
        """
        depth, inside = inner or (self.num_downs, None)
        check_divisible(image, 2 ** (depth - start))
        x, skips = image, []
        for i in range(start, depth):
            x, skip = self._down(x, i, use_running_average)
            skips.append(skip)
        if inside:
            x = inside(x)
        else:
            x = skips.pop()
            x = nn.relu(x) if self.decoder_activation == "after_concat" else x
            x = self._up(x, self.num_downs - 1, use_running_average, deterministic)
            depth -= 1
        for i in reversed(range(start, depth)):
            x = self._up(self._join(skips.pop(), x), i, use_running_average, deterministic)
        return x

    def layers_with_dropout(self) -> list[int]:
        """Lists the decoder layers that have dropout, if the rate is above 0; 1 is the innermost."""
        return list(range(2, self.num_downs - 3)) if self.dropout_layers is None else sorted(self.dropout_layers)

    def _down(self, x: jax.Array, i: int, use_running_average: bool) -> tuple[jax.Array, jax.Array]:
        """Halves. Returns (what the next layer takes, what the decoder takes)."""
        innermost = self.num_downs - 1
        x = DownConv(self.width(i), use_bias=self.has_bias(), dtype=self.dtype, name=f"down{i}")(x)
        if 0 < i < innermost or (i == innermost and self.bottleneck_norm):
            x = self.normalize(x, f"down{i}_norm", use_running_average=use_running_average)
        activated = self.leaky_relu(x)
        return activated, x if self.decoder_activation == "after_concat" else activated

    def _join(self, skip: jax.Array, x: jax.Array) -> jax.Array:
        x = nn.relu(x)
        if not self.skips:
            return x
        return jnp.concatenate([nn.relu(skip) if self.decoder_activation == "after_concat" else skip, x], axis=-1)

    def _up(self, x: jax.Array, i: int, use_running_average: bool, deterministic: bool) -> jax.Array:
        """Doubles; the outermost layer makes the picture."""
        if i == 0:
            x = UpConv(self.out_channels, use_bias=self.has_bias(last=True), dtype=self.dtype, name="up0")(x)
            return jnp.tanh(x.astype(jnp.float32))
        x = UpConv(self.width(i - 1), use_bias=self.has_bias(), dtype=self.dtype, name=f"up{i}")(x)
        x = self.normalize(x, f"up{i}_norm", use_running_average=use_running_average)
        layers = self.layers_with_dropout()
        if self.dropout and self.num_downs - i in layers:
            name = f"Dropout_{layers.index(self.num_downs - i)}"  # its noise depends on its name
            x = nn.Dropout(self.dropout, deterministic=deterministic, name=name)(x)
        return x
