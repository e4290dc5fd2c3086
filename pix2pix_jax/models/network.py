"""The base of generators and discriminators: norm, leaky ReLU, and which convolutions have a bias."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax

from pix2pix_jax.errors import check_bounds, check_choice
from pix2pix_jax.models.norms import NORMS, BatchNorm, InstanceNorm, group_norm

BIASES = ("auto", "always", "last", "never")


def has_bias(bias: str, norm: str, *, first: bool = False, last: bool = False) -> bool:
    """Tells whether a convolution of a network with these `bias` and `norm` has a bias; see `Network`."""
    if bias == "auto":
        return first or last or norm == "instance"
    return bias == "always" or (bias == "last" and last)


def check_divisible(image: jax.Array, multiple: int) -> None:
    """Raises ValueError unless both sides of an image (N, H, W, C) are multiples of `multiple`."""
    if image.shape[1] % multiple or image.shape[2] % multiple:
        raise ValueError(f"image of {image.shape[1]}x{image.shape[2]}: both sides must be multiples of {multiple}")


class Network(nn.Module):
    """Holds the fields that all networks share. A value that cannot be used is a ValueError that begins with its field.

    Attributes:
      features: channels of the first layer.
      norm: "batch", "instance", "group" or "none".
      norm_epsilon: number added to the variance.
      norm_momentum: momentum of BatchNorm's running statistics: running = momentum * running + (1 - momentum) * batch.
      norm_scale_std: standard deviation of the initial scales, whose mean is 1.
      bias: which convolutions have a bias. "auto" as in pytorch-CycleGAN-and-pix2pix: the last, a discriminator's
        first, and under "instance", a norm without parameters, the others too. "always": all. "last": only the last,
        as in TensorFlow's tutorial. "never": none, as in the paper's program, which zeroes them at every step.
      slope: slope of the leaky ReLU below 0, 0.2 as published.
      dtype: dtype of the computation (None: that of the input); parameters and statistics stay float32.
    """

    features: int = 64
    norm: str = "batch"
    norm_epsilon: float = 1e-5
    norm_momentum: float = 0.9
    norm_scale_std: float = 0.02
    bias: str = "auto"
    slope: float = 0.2
    dtype: Any = None

    def __post_init__(self) -> None:
        check_bounds("features", self.features, 1)
        check_choice("norm", self.norm, NORMS)
        check_choice("bias", self.bias, BIASES)
        check_bounds("slope", self.slope, 0)
        if not self.norm_epsilon > 0:  # it prevents 0 / 0, for constant images
            raise ValueError(f"norm_epsilon: {self.norm_epsilon}; must be above 0, as 1e-05")
        check_bounds("norm_momentum", self.norm_momentum, 0, below=1)
        check_bounds("norm_scale_std", self.norm_scale_std, 0)
        super().__post_init__()

    def fields_of(self, base: type["Network"]) -> dict[str, Any]:
        """Returns this network's values of the fields that `base` has, to hand them on to a submodule."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(base) if f.name not in ("parent", "name")}

    def width(self, layer: int) -> int:
        """Returns the channels of a layer whose widths double with depth to at most 8 times `features`."""
        return self.features * min(2**layer, 8)

    def leaky_relu(self, x: jax.Array) -> jax.Array:
        return nn.leaky_relu(x, self.slope)

    def has_bias(self, *, first: bool = False, last: bool = False) -> bool:
        """Tells whether a convolution has a bias; "auto" always gives one to those that are `first` or `last`."""
        return has_bias(self.bias, self.norm, first=first, last=last)

    def normalize(self, x: jax.Array, name: str, *, use_running_average: bool) -> jax.Array:
        """Applies the norm, with its parameters under `name`; call it in a compact method."""
        options = {"epsilon": self.norm_epsilon, "dtype": self.dtype, "name": name}
        if self.norm == "batch":
            layer = BatchNorm(momentum=self.norm_momentum, scale_std=self.norm_scale_std, **options)
            return layer(x, use_running_average=use_running_average)
        if self.norm == "instance":
            return InstanceNorm(**options)(x)
        if self.norm == "group":
            return group_norm(x.shape[-1], scale_std=self.norm_scale_std, **options)(x)
        return x
