"""What the golden files hold: the networks to compare, and the numbers that both sides draw from names.

Read by the PyTorch programs beside it and by the tests, so it needs neither torch nor jax. Neither inputs nor
parameters are stored: `draw` makes them from their names by numpy's RandomState, whose streams are frozen. Names and
layouts are those of pix2pix_jax: "/" separates levels, images are (N, H, W, C), kernels (height, width, in, out).
"""

import dataclasses
import zlib
from typing import Any

import numpy as np

BATCH = 2

# Last part of a name -> mean and deviation of the numbers under it. `u` starts a power iteration; running variances are
# large enough for nine residual blocks not to saturate the output.
SPREAD = {"bias": (0, 0.1), "scale": (1, 0.1), "mean": (0, 0.1), "var": (1.5, 0.1), "u": (0, 1), "image": (0, 0.5)}


def _stream(name: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(name.encode()))


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers, the same for the same name and size wherever they are drawn.

    Kernels keep the signal about as large as it came in (He et al. 2015), so that every layer counts in the output.
    """
    kind = name.split("/")[-1]
    mean, deviation = (0, np.sqrt(2 / np.prod(shape[:-1]))) if kind == "kernel" else SPREAD[kind]
    return mean + deviation * _stream(name).standard_normal(shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One network on one input.

    Attributes:
      network: name of the class, which is the same in pix2pix_jax.models and torch_networks.py.
      options: its fields that differ from the defaults.
      image: (H, W, C) of the input.
      candidate: channels of the discriminator's second input; None for generators, which take one.
      gradients: layers whose kernel's gradient is compared, and with them the last input's; () for none. The gradients
        are those of the sum of the squares of the output.
    """

    network: str
    options: dict[str, Any]
    image: tuple[int, int, int]
    candidate: int | None = None
    gradients: tuple[str, ...] = ()

    @property
    def inputs(self) -> list[np.ndarray]:
        """The image and, for discriminators, the candidate."""
        *size, channels = self.image
        image = draw("input/image", (BATCH, *size, channels))
        return [image] if self.candidate is None else [image, draw("candidate/image", (BATCH, *size, self.candidate))]

    @property
    def has_running_statistics(self) -> bool:
        """Whether inference by running statistics differs from training."""
        return self.options.get("norm", "batch") == "batch"


def _unet(*, image=(32, 32, 1), gradients=(), **options) -> Case:
    options = {"out_channels": 1, "num_downs": 5, "features": 4, **options}
    return Case(network="UNetGenerator", options=options, image=image, gradients=gradients)


def _resnet(*, gradients=(), **options) -> Case:
    options = {"out_channels": 1, "features": 3, **options}
    return Case(network="ResNetGenerator", options=options, image=(32, 32, 1), gradients=gradients)


def _patch(*, image=(32, 32, 2), candidate=1, gradients=(), network="PatchDiscriminator", **options) -> Case:
    options = {"features": 4, **options}
    return Case(network=network, options=options, image=image, candidate=candidate, gradients=gradients)


TENSORFLOW = {"slope": 0.3, "norm_epsilon": 1e-3, "bias": "last"}  # TensorFlow's tutorial: its framework's defaults

CASES = {
    "unet": _unet(image=(32, 32, 3), out_channels=3, gradients=("down1", "up1")),
    "unet_64": _unet(num_downs=6, image=(64, 64, 1)),
    "unet_oblong": _unet(image=(32, 64, 1), norm="instance"),
    "unet_instance": _unet(norm="instance", gradients=("down1", "up2")),
    # Widths of 3, 6, 12 and 24, so that a group holds more than one channel.
    "unet_group": _unet(norm="group", features=3),
    "unet_without_norm": _unet(norm="none"),
    "unet_bias": _unet(bias="always"),
    "unet_no_bias": _unet(norm="instance", bias="never"),
    "unet_4_to_2": _unet(image=(32, 32, 4), out_channels=2, norm="instance"),
    "unet_without_skips": _unet(skips=False),
    "unet_tensorflow": _unet(
        bottleneck_norm=True, decoder_activation="before_concat", gradients=("down2", "up0"), **TENSORFLOW
    ),
    "resnet_6": _resnet(num_blocks=6, norm="instance", gradients=("block5/conv1", "up1")),
    "resnet_9": _resnet(num_blocks=9),
    "pixel": _patch(num_layers=0, gradients=("conv0", "conv2")),
    "pixel_instance": _patch(num_layers=0, norm="instance"),
    "patch_1": _patch(num_layers=1),
    "patch_2": _patch(num_layers=2),
    "patch_3": _patch(image=(32, 32, 3), candidate=3, num_layers=3, gradients=("conv1", "conv4")),
    "patch_4": _patch(num_layers=4, image=(64, 64, 1), candidate=2),
    "patch_5": _patch(num_layers=5, features=2, image=(128, 128, 1), candidate=1),
    "patch_64": _patch(num_layers=3, image=(64, 64, 3), candidate=3),
    "patch_reflect": _patch(num_layers=3, padding="reflect", gradients=("conv0", "conv2")),
    "patch_unconditional": _patch(num_layers=2, conditional=False),
    "patch_instance": _patch(num_layers=3, norm="instance", gradients=("conv2", "conv4")),
    "patch_bias": _patch(num_layers=2, bias="always"),
    "patch_no_bias": _patch(num_layers=2, norm="instance", bias="never"),
    # Without a norm, which would undo the division of the kernel before it.
    "patch_spectral": _patch(num_layers=2, norm="none", spectral_norm=True, gradients=("conv0", "conv2")),
    "patch_tensorflow": _patch(num_layers=3, gradients=("conv2", "conv4"), **TENSORFLOW),
    "multi_scale": _patch(
        network="MultiScaleDiscriminator", num_scales=2, num_layers=2, gradients=("scale0/conv1", "scale1/conv0")
    ),
    "multi_scale_3": _patch(network="MultiScaleDiscriminator", num_scales=3, num_layers=1, norm="instance", features=2),
}

# The networks and optimiser of every trajectory (make_trajectories.py).
GENERATOR = {"out_channels": 3, "num_downs": 5, "features": 4}
DISCRIMINATOR = {"num_layers": 2, "features": 4}
ADAM = {"learning_rate": 2e-4, "b1": 0.5, "b2": 0.999, "eps": 1e-8}
STEPS = 10

# Of draws 0 to 69 the one whose activations stay farthest from the kink of the ReLU they enter: 3e-6 of their spread,
# over all recipes. Nearer, the rounding of one program or another decides on the slope, and Adam makes it a whole step.
DRAW = 57


def batch(step: int) -> dict[str, np.ndarray]:
    """The uint8 input and target (2, 32, 32, 3) of a step, from 0; the networks see value / 127.5 - 1."""
    streams = {name: _stream(f"draw{DRAW}/step{step}/{name}") for name in ("input", "target")}
    return {name: stream.randint(0, 256, (BATCH, 32, 32, 3)).astype(np.uint8) for name, stream in streams.items()}


def mixing(step: int) -> np.ndarray:
    """The gradient penalty's share of the real candidate, uniform in [0, 1), one an example."""
    return _stream(f"draw{DRAW}/step{step}/mixing").uniform(size=BATCH)
