"""Writes popular/: files of weights as pytorch-CycleGAN-and-pix2pix saves them, and their outputs.

Independent of pix2pix_jax. Needs numpy and torch (CPU), which the tests do not; to make the files anew:

    python tests/golden/make_popular.py

The networks have that program's names, which their nesting makes; the weights are random. `outputs.npz` holds
for every file NAME.pth the arrays NAME/input, NAME/eval and NAME/train: float32 (N, H, W, C), computed in float64, in
evaluation and in training mode, without dropout. All is drawn anew alike, but the legacy format names its storages by
their addresses, so that the bytes of unet_legacy.pth differ.
"""

import dataclasses
import pathlib
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

FOLDER = pathlib.Path(__file__).with_name("popular")
BATCH = 2
NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "none": lambda width: nn.Identity()}


class UNetBlock(nn.Module):
    """One level of the U-Net with all levels below inside it; answers its input and what came back up."""

    def __init__(self, widths: list[int], inner: "UNetBlock | None", norm: str):
        super().__init__()
        outer_width, width = widths
        bias = norm == "instance"
        down = nn.Conv2d(outer_width, width, 4, 2, 1, bias=bias)
        up = nn.ConvTranspose2d(width * (2 if inner else 1), outer_width, 4, 2, 1, bias=bias)
        enter = [nn.LeakyReLU(0.2), down, *([NORMS[norm](width), inner] if inner else [])]
        self.model = nn.Sequential(*enter, nn.ReLU(), up, NORMS[norm](outer_width))

    def forward(self, x):
        return torch.cat([x, self.model(x)], dim=1)


class UNetOutside(nn.Module):
    """The first level, between the images: no norm, no skip around it."""

    def __init__(self, inputs: int, targets: int, features: int, inner: UNetBlock, norm: str):
        super().__init__()
        down = nn.Conv2d(inputs, features, 4, 2, 1, bias=norm == "instance")
        up = nn.ConvTranspose2d(2 * features, targets, 4, 2, 1)
        self.model = nn.Sequential(down, inner, nn.ReLU(), up, nn.Tanh())

    def forward(self, x):
        return self.model(x)


class UNet(nn.Module):
    def __init__(self, inputs: int, targets: int, features: int, num_downs: int, norm: str):
        super().__init__()
        widths = [features * min(2**i, 8) for i in range(num_downs)]
        block = None
        for i in reversed(range(1, num_downs)):
            block = UNetBlock(widths[i - 1 : i + 1], block, norm)
        self.model = UNetOutside(inputs, targets, features, block, norm)

    def forward(self, x):
        return self.model(x)


class ResidualBlock(nn.Module):
    def __init__(self, width: int, norm: str, dropout: bool):
        super().__init__()

        def convolution() -> list[nn.Module]:
            return [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3, bias=norm == "instance"), NORMS[norm](width)]

        between = [nn.ReLU(), *([nn.Dropout(0.5)] if dropout else [])]
        self.conv_block = nn.Sequential(*convolution(), *between, *convolution())

    def forward(self, x):
        return x + self.conv_block(x)


class ResNet(nn.Module):
    def __init__(self, inputs: int, targets: int, features: int, num_blocks: int, norm: str, dropout: bool):
        super().__init__()
        bias = norm == "instance"
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, features, 7, bias=bias), NORMS[norm](features), nn.ReLU()]
        for width in (features, 2 * features):
            down = nn.Conv2d(width, 2 * width, 3, 2, 1, bias=bias)
            layers += [down, NORMS[norm](2 * width), nn.ReLU()]
        layers += [ResidualBlock(4 * features, norm, dropout) for _ in range(num_blocks)]
        for width in (2 * features, features):
            up = nn.ConvTranspose2d(2 * width, width, 3, 2, 1, output_padding=1, bias=bias)
            layers += [up, NORMS[norm](width), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(features, targets, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x)


class PatchGAN(nn.Module):
    def __init__(self, channels: int, features: int, num_layers: int, norm: str):
        super().__init__()
        widths = [features * min(2**i, 8) for i in range(num_layers + 1)]
        layers = [nn.Conv2d(channels, features, 4, 2, 1), nn.LeakyReLU(0.2)]
        for i in range(1, num_layers + 1):
            stride = 2 if i < num_layers else 1
            conv = nn.Conv2d(widths[i - 1], widths[i], 4, stride, 1, bias=norm == "instance")
            layers += [conv, NORMS[norm](widths[i]), nn.LeakyReLU(0.2)]
        self.model = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))

    def forward(self, x):
        return self.model(x)


class PixelGAN(nn.Module):
    def __init__(self, channels: int, features: int, norm: str):
        super().__init__()
        bias = norm == "instance"
        self.net = nn.Sequential(
            nn.Conv2d(channels, features, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(features, 2 * features, 1, bias=bias),
            NORMS[norm](2 * features),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * features, 1, 1, bias=bias),
        )

    def forward(self, x):
        return self.net(x)


def draw(name: str, like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random weights, kernels of about unit gain so that every layer shows in the output."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(7)
    normal = torch.randn(like.shape, generator=generator)
    if name.endswith("running_var"):
        return 0.5 + normal.square()
    if like.ndim == 4:
        return normal / like[0].numel() ** 0.5
    is_scale = name.endswith(".weight")
    return (1 if is_scale else 0) + 0.3 * normal


def fill(network: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    state = {name: draw(name, tensor, generator) for name, tensor in network.state_dict().items()}
    network.load_state_dict(state)


def answers(network: nn.Module, image: np.ndarray) -> dict[str, np.ndarray]:
    network = network.double()
    x = torch.tensor(image.transpose(0, 3, 1, 2).copy()).double()
    found = {}
    for mode in ("eval", "train"):
        network.train(mode == "train")
        for layer in network.modules():
            if isinstance(layer, nn.Dropout):
                layer.eval()
        with torch.no_grad():
            found[mode] = network(x).numpy().transpose(0, 2, 3, 1).astype(np.float32)
    return found


def plain(network: nn.Module) -> OrderedDict:
    return network.state_dict()


def of_data_parallel(network: nn.Module) -> OrderedDict:
    """Every name begins with "module."."""
    return nn.DataParallel(network).state_dict()


def without_counters(network: nn.Module) -> OrderedDict:
    """As before PyTorch 0.4.1, when BatchNorm did not count its batches."""
    state = network.state_dict()
    for name in [name for name in state if name.endswith("num_batches_tracked")]:
        del state[name]
    return state


def with_old_statistics(network: nn.Module) -> OrderedDict:
    """As before PyTorch 0.4, when InstanceNorm carried statistics that it did not use."""
    state = network.state_dict()
    for name, layer in network.named_modules():
        if isinstance(layer, nn.InstanceNorm2d):
            state[f"{name}.running_mean"] = torch.zeros(layer.num_features)
            state[f"{name}.running_var"] = torch.ones(layer.num_features)
    return state


@dataclasses.dataclass(frozen=True)
class File:
    network: nn.Module
    channels: int
    size: int  # of the square image
    state: Callable[[nn.Module], OrderedDict] = plain
    is_zip: bool = True


FILES = {
    "unet": File(UNet(3, 3, features=1, num_downs=5, norm="batch"), 3, 32, of_data_parallel),
    "unet_legacy": File(UNet(1, 2, features=1, num_downs=5, norm="batch"), 1, 32, without_counters, is_zip=False),
    "resnet_dropout": File(ResNet(3, 3, features=2, num_blocks=2, norm="instance", dropout=True), 3, 16),
    "resnet": File(ResNet(2, 1, features=1, num_blocks=3, norm="batch", dropout=False), 2, 16),
    "patchgan": File(PatchGAN(6, features=2, num_layers=3, norm="batch"), 6, 32),
    "patchgan_old": File(PatchGAN(3, features=2, num_layers=1, norm="instance"), 3, 16, with_old_statistics),
    "pixel": File(PixelGAN(6, features=2, norm="batch"), 6, 8),
    "pixel_none": File(PixelGAN(4, features=2, norm="none"), 4, 8),
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    outputs = {}
    for seed, (name, file) in enumerate(FILES.items()):
        fill(file.network, seed)
        path = FOLDER / f"{name}.pth"
        torch.save(file.state(file.network), path, _use_new_zipfile_serialization=file.is_zip)
        shape = (BATCH, file.size, file.size, file.channels)
        image = np.random.RandomState(seed).uniform(-1, 1, shape).astype(np.float32)
        outputs[f"{name}/input"] = image
        outputs |= {f"{name}/{mode}": values for mode, values in answers(file.network, image).items()}
    np.savez_compressed(FOLDER / "outputs.npz", **outputs)
    for path in sorted(FOLDER.iterdir()):
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
