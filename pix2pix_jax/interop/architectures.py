"""Describes the networks of pytorch-CycleGAN-and-pix2pix, and lists the arrays of each.

PyTorch's names are made of indices, as its networks are nested `nn.Sequential`s. Layers without weights (activations,
padding, dropout, no norm) have indices too; the U-Net's level i lies inside level i - 1.
"""

import dataclasses
from collections.abc import Iterator

from pix2pix_jax.models.network import has_bias

COUNTER = "num_batches_tracked"  # of batches, in BatchNorm since PyTorch 0.4.1; PyTorch uses it only with momentum=None


_DEPTHS = {"unet": "num_downs", "resnet": "num_blocks", "discriminator": "num_layers"}  # the config's names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """Describes a network, as far as its weights show, by the values of the config's `generator` or `discriminator`."""

    network: str  # "unet", "resnet" or "discriminator"
    depth: int  # num_downs, num_blocks or num_layers
    features: int
    norm: str  # "batch", "instance" or "none"
    bias: str  # "auto", "always", "last" or "never", as in `models.network`
    input_channels: int  # of a discriminator: those of input and target together, or of the target alone
    target_channels: int = 1  # of a discriminator: its one score
    skips: bool = True  # U-Net
    dropout: bool | None = None  # ResNet: True if there is any; None: weights do not show it

    def described(self) -> str:
        """Returns a phrase for messages."""
        size = f"features {self.features}, {_DEPTHS[self.network]} {self.depth}"
        return f"a {self.network} of {size}, norm {self.norm}, bias {self.bias}"


@dataclasses.dataclass(frozen=True)
class Entry:
    """Maps one array: PyTorch's key and shape, and our path."""

    key: str
    shape: tuple[int, ...]
    path: str | None  # "params/..." or "batch_stats/..."; None: our networks have no counterpart
    kind: str = "vector"  # kernels: "conv", or "up" for a transposed convolution


def entries_of(architecture: Architecture) -> list[Entry]:
    """Lists all arrays of a network, in PyTorch's order."""
    list_layers = {"unet": _unet, "resnet": _resnet, "discriminator": _discriminator}[architecture.network]
    return [entry for layer in list_layers(architecture) for entry in layer.entries(architecture)]


@dataclasses.dataclass(frozen=True)
class _Layer:
    """Describes a convolution, and the norm layer that follows it at the next index."""

    prefix: str  # of PyTorch's keys, up to the index
    index: int
    path: str  # ours
    inputs: int  # channels
    outputs: int
    size: int  # side of the kernel
    kind: str = "conv"
    norm: str = ""  # our path of the norm layer; "": none follows
    is_first: bool = False  # first of a discriminator: always has a bias with "auto"
    is_last: bool = False  # last of a network: likewise

    def entries(self, architecture: Architecture) -> Iterator[Entry]:
        key, next_key = f"{self.prefix}.{self.index}", f"{self.prefix}.{self.index + 1}"
        channels = (self.inputs, self.outputs) if self.kind == "up" else (self.outputs, self.inputs)
        yield Entry(f"{key}.weight", (*channels, self.size, self.size), f"params/{self.path}/kernel", self.kind)
        if has_bias(architecture.bias, architecture.norm, first=self.is_first, last=self.is_last):
            yield Entry(f"{key}.bias", (self.outputs,), f"params/{self.path}/bias")
        if self.norm and architecture.norm == "batch":  # of the norms here, only this one has weights
            yield Entry(f"{next_key}.weight", (self.outputs,), f"params/{self.norm}/scale")
            yield Entry(f"{next_key}.bias", (self.outputs,), f"params/{self.norm}/bias")
            yield Entry(f"{next_key}.running_mean", (self.outputs,), f"batch_stats/{self.norm}/mean")
            yield Entry(f"{next_key}.running_var", (self.outputs,), f"batch_stats/{self.norm}/var")
            yield Entry(f"{next_key}.{COUNTER}", (), None)


def unet_level(i: int) -> str:
    """Returns PyTorch's prefix of the U-Net's level i, where 0 is the outermost."""
    return "model" if i == 0 else "model.model.1" + ".model.3" * (i - 1)


def _unet(architecture: Architecture) -> Iterator[_Layer]:
    innermost = architecture.depth - 1
    widths = [architecture.features * min(2**i, 8) for i in range(architecture.depth)]
    for i, width in enumerate(widths):
        inputs = widths[i - 1] if i else architecture.input_channels
        norm = f"down{i}_norm" if 0 < i < innermost else ""
        yield _Layer(f"{unet_level(i)}.model", 1 if i else 0, f"down{i}", inputs, width, 4, norm=norm)
    for i in reversed(range(architecture.depth)):
        index = 5 if 0 < i < innermost else 3
        inputs = widths[i] * (2 if architecture.skips and i < innermost else 1)
        outputs, norm = (widths[i - 1], f"up{i}_norm") if i else (architecture.target_channels, "")
        yield _Layer(f"{unet_level(i)}.model", index, f"up{i}", inputs, outputs, 4, "up", norm, is_last=i == 0)


def _resnet(architecture: Architecture) -> Iterator[_Layer]:
    narrow, middle, wide = (architecture.features * factor for factor in (1, 2, 4))
    yield _Layer("model", 1, "stem", architecture.input_channels, narrow, 7, norm="stem_norm")
    yield _Layer("model", 4, "down0", narrow, middle, 3, norm="down0_norm")
    yield _Layer("model", 7, "down1", middle, wide, 3, norm="down1_norm")
    for k in range(architecture.depth):
        for j, index in ((0, 1), (1, 6 if architecture.dropout else 5)):
            prefix = f"model.{10 + k}.conv_block"
            yield _Layer(prefix, index, f"block{k}/conv{j}", wide, wide, 3, norm=f"block{k}/norm{j}")
    up = 10 + architecture.depth
    yield _Layer("model", up, "up1", wide, middle, 3, "up", "up1_norm")
    yield _Layer("model", up + 3, "up0", middle, narrow, 3, "up", "up0_norm")
    yield _Layer("model", up + 7, "head", narrow, architecture.target_channels, 7, is_last=True)


def _discriminator(architecture: Architecture) -> Iterator[_Layer]:
    """Lists layers; the pixel discriminator is a PatchGAN of one inner layer and 1x1 kernels, but for its last bias."""
    is_pixel = architecture.depth == 0
    prefix, size = ("net", 1) if is_pixel else ("model", 4)
    last = max(architecture.depth, 1) + 1
    width = architecture.features
    yield _Layer(prefix, 0, "conv0", architecture.input_channels, width, size, is_first=True)
    for i in range(1, last):
        inputs, width = width, architecture.features * min(2**i, 8)
        yield _Layer(prefix, 3 * i - 1, f"conv{i}", inputs, width, size, norm=f"conv{i}_norm")
    # With "auto", the last layer of their pixel discriminator has a bias only if the inner ones do.
    counts_as_last = not (is_pixel and architecture.bias == "auto")
    yield _Layer(prefix, 3 * last - 1, f"conv{last}", width, 1, size, is_last=counts_as_last)
