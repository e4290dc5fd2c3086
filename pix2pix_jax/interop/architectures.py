"""Describes the networks of pytorch-CycleGAN-and-pix2pix, and lists the arrays of each.

PyTorch's names are made of indices, as its networks are nested `nn.Sequential`s. Layers without weights (activations,
padding, dropout, no norm) have indices too; the U-Net's level i lies inside level i - 1.
"""

import dataclasses
from collections.abc import Iterator

from pix2pix_jax.models.network import has_bias

COUNTER = "num_batches_tracked"  # of batches, in BatchNorm since PyTorch 0.4.1; PyTorch uses it only with momentum=None


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratorArchitecture:
    """Describes a generator, as far as its weights show, by the names and values of `config.generator`."""

    name: str  # "unet" or "resnet"
    features: int
    norm: str  # "batch", "instance" or "none"
    bias: str  # "auto", "always", "last" or "never", as in `models.network`
    input_channels: int
    target_channels: int
    num_downs: int | None = None  # U-Net
    skips: bool = True  # U-Net
    num_blocks: int | None = None  # ResNet
    dropout: bool | None = None  # True if there is any; None: a U-Net, whose weights do not show it

    def described(self) -> str:
        """Returns a phrase for messages."""
        depth = f"num_downs {self.num_downs}" if self.name == "unet" else f"num_blocks {self.num_blocks}"
        return f"a {self.name} of features {self.features}, {depth}, norm {self.norm}, bias {self.bias}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscriminatorArchitecture:
    """Describes a discriminator, as far as its weights show, by the names and values of `config.discriminator`."""

    num_layers: int  # 0: the pixel discriminator
    features: int
    norm: str
    bias: str
    channels: int  # of its input: those of input and target together, or of the target alone

    def described(self) -> str:
        """Returns a phrase for messages."""
        size = f"features {self.features}, num_layers {self.num_layers}"
        return f"a discriminator of {size}, norm {self.norm}, bias {self.bias}"


Architecture = GeneratorArchitecture | DiscriminatorArchitecture


@dataclasses.dataclass(frozen=True)
class Entry:
    """Maps one array: PyTorch's key and shape, and our path."""

    key: str
    shape: tuple[int, ...]
    path: str | None  # "params/..." or "batch_stats/..."; None: our networks have no counterpart
    kind: str = "vector"  # kernels: "conv", or "up" for a transposed convolution

    @property
    def is_optional(self) -> bool:
        return self.path is None


def entries_of(architecture: Architecture) -> list[Entry]:
    """Lists all arrays of a network, in PyTorch's order."""
    if isinstance(architecture, DiscriminatorArchitecture):
        rows = _discriminator(architecture)
    else:
        rows = (_unet if architecture.name == "unet" else _resnet)(architecture)
    return [entry for row in rows for entry in row.entries(architecture)]


@dataclasses.dataclass(frozen=True)
class _Conv:
    """Describes a convolution: PyTorch's prefix, our path, channels in and out, side of the kernel."""

    prefix: str
    path: str
    inputs: int
    outputs: int
    size: int
    kind: str = "conv"
    is_first: bool = False  # first of a discriminator: always has a bias with "auto"
    is_last: bool = False  # last of a network: likewise

    def entries(self, architecture: Architecture) -> Iterator[Entry]:
        channels = (self.inputs, self.outputs) if self.kind == "up" else (self.outputs, self.inputs)
        yield Entry(f"{self.prefix}.weight", (*channels, self.size, self.size), f"params/{self.path}/kernel", self.kind)
        if has_bias(architecture.bias, architecture.norm, first=self.is_first, last=self.is_last):
            yield Entry(f"{self.prefix}.bias", (self.outputs,), f"params/{self.path}/bias")


@dataclasses.dataclass(frozen=True)
class _Norm:
    """Describes a norm layer; of the norms here only "batch" has weights."""

    prefix: str
    path: str
    width: int

    def entries(self, architecture: Architecture) -> Iterator[Entry]:
        if architecture.norm != "batch":
            return
        for name, path in (
            ("weight", f"params/{self.path}/scale"),
            ("bias", f"params/{self.path}/bias"),
            ("running_mean", f"batch_stats/{self.path}/mean"),
            ("running_var", f"batch_stats/{self.path}/var"),
        ):
            yield Entry(f"{self.prefix}.{name}", (self.width,), path)
        yield Entry(f"{self.prefix}.{COUNTER}", (), None)


_Rows = Iterator[_Conv | _Norm]


def unet_level(i: int) -> str:
    """Returns PyTorch's prefix of the U-Net's level i, where 0 is the outermost."""
    return "model" if i == 0 else "model.model.1" + ".model.3" * (i - 1)


def _unet(architecture: GeneratorArchitecture) -> _Rows:
    innermost = architecture.num_downs - 1
    widths = [architecture.features * min(2**i, 8) for i in range(architecture.num_downs)]
    for i, width in enumerate(widths):
        inputs = widths[i - 1] if i else architecture.input_channels
        yield _Conv(f"{unet_level(i)}.model.{1 if i else 0}", f"down{i}", inputs, width, 4)
        if 0 < i < innermost:
            yield _Norm(f"{unet_level(i)}.model.2", f"down{i}_norm", width)
    for i in reversed(range(1, architecture.num_downs)):
        index = 3 if i == innermost else 5
        inputs = widths[i] * (2 if architecture.skips and i < innermost else 1)
        yield _Conv(f"{unet_level(i)}.model.{index}", f"up{i}", inputs, widths[i - 1], 4, "up")
        yield _Norm(f"{unet_level(i)}.model.{index + 1}", f"up{i}_norm", widths[i - 1])
    inputs = widths[0] * (2 if architecture.skips else 1)
    yield _Conv("model.model.3", "up0", inputs, architecture.target_channels, 4, "up", is_last=True)


def _resnet(architecture: GeneratorArchitecture) -> _Rows:
    narrow, middle, wide = (architecture.features * factor for factor in (1, 2, 4))
    ups = 10 + architecture.num_blocks  # the index of the first transposed convolution
    yield _Conv("model.1", "stem", architecture.input_channels, narrow, 7)
    yield _Norm("model.2", "stem_norm", narrow)
    yield _Conv("model.4", "down0", narrow, middle, 3)
    yield _Norm("model.5", "down0_norm", middle)
    yield _Conv("model.7", "down1", middle, wide, 3)
    yield _Norm("model.8", "down1_norm", wide)
    for k in range(architecture.num_blocks):
        for j, index in ((0, 1), (1, 6 if architecture.dropout else 5)):
            yield _Conv(f"model.{10 + k}.conv_block.{index}", f"block{k}/conv{j}", wide, wide, 3)
            yield _Norm(f"model.{10 + k}.conv_block.{index + 1}", f"block{k}/norm{j}", wide)
    yield _Conv(f"model.{ups}", "up1", wide, middle, 3, "up")
    yield _Norm(f"model.{ups + 1}", "up1_norm", middle)
    yield _Conv(f"model.{ups + 3}", "up0", middle, narrow, 3, "up")
    yield _Norm(f"model.{ups + 4}", "up0_norm", narrow)
    yield _Conv(f"model.{ups + 7}", "head", narrow, architecture.target_channels, 7, is_last=True)


def _discriminator(architecture: DiscriminatorArchitecture) -> _Rows:
    """Lists layers; the pixel discriminator is a PatchGAN of one inner layer and 1x1 kernels, but for its last bias."""
    is_pixel = architecture.num_layers == 0
    prefix, size = ("net", 1) if is_pixel else ("model", 4)
    last = max(architecture.num_layers, 1) + 1
    width = architecture.features
    yield _Conv(f"{prefix}.0", "conv0", architecture.channels, width, size, is_first=True)
    for i in range(1, last):
        inputs, width = width, architecture.features * min(2**i, 8)
        yield _Conv(f"{prefix}.{3 * i - 1}", f"conv{i}", inputs, width, size)
        yield _Norm(f"{prefix}.{3 * i}", f"conv{i}_norm", width)
    # With "auto", the last layer of pytorch-CycleGAN-and-pix2pix's pixel discriminator has a bias only
    # if the inner ones do.
    counts_as_last = not (is_pixel and architecture.bias == "auto")
    yield _Conv(f"{prefix}.{3 * last - 1}", f"conv{last}", width, 1, size, is_last=counts_as_last)
