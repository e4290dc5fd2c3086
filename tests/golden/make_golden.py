"""Writes models.npz: what the published U-Net and PatchGAN answer in PyTorch, for tests/models/test_golden.py.

Independent of pix2pix_jax. Needs numpy and torch (CPU), which the tests do not; to make the file anew:

    python tests/golden/make_golden.py

Inputs and parameters are not stored: both sides draw them from their names by numpy's RandomState, whose stream is
frozen (`draw`). Names and layouts are those of pix2pix_jax: kernels (4, 4, in, out), a transposed convolution's rotated
by 180 degrees from PyTorch's. Everything is computed in float64, in training mode, without dropout.
"""

import pathlib
import zlib

import numpy as np
import torch
from torch import nn

FEATURES, BATCH = 4, 2
SIZES = {32: 5, 64: 6}  # image size -> halvings
SPREAD = {"kernel": (0, 0.1), "bias": (0, 0.1), "scale": (1, 0.1), "image": (0, 0.5)}  # last part -> mean, deviation


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    mean, deviation = SPREAD[name.split("/")[-1]]
    return mean + deviation * np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)


def conv(prefix: str, fan_in: int, fan_out: int, *, stride: int = 2, bias: bool) -> nn.Conv2d:
    layer = nn.Conv2d(fan_in, fan_out, 4, stride, 1, bias=bias)
    kernel = draw(f"{prefix}/kernel", (4, 4, fan_in, fan_out))
    layer.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1).copy())
    if bias:
        layer.bias.data = torch.tensor(draw(f"{prefix}/bias", (fan_out,)))
    return layer


def up_conv(prefix: str, fan_in: int, fan_out: int, *, bias: bool) -> nn.ConvTranspose2d:
    layer = nn.ConvTranspose2d(fan_in, fan_out, 4, 2, 1, bias=bias)
    kernel = draw(f"{prefix}/kernel", (4, 4, fan_in, fan_out))
    layer.weight.data = torch.tensor(kernel[::-1, ::-1].transpose(2, 3, 0, 1).copy())
    if bias:
        layer.bias.data = torch.tensor(draw(f"{prefix}/bias", (fan_out,)))
    return layer


def norm(prefix: str, width: int) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(width).double()
    layer.weight.data = torch.tensor(draw(f"{prefix}/scale", (width,)))
    layer.bias.data = torch.tensor(draw(f"{prefix}/bias", (width,)))
    return layer


class UNet(nn.Module):
    """Norms are numbered in the order of use: the encoder's from the outside in, then the decoder's back out."""

    def __init__(self, downs: int):
        super().__init__()
        widths = [FEATURES * min(2**i, 8) for i in range(downs)]
        inner = downs - 1
        self.downs = nn.ModuleList(
            [conv(f"down{i}", widths[i - 1] if i else 3, widths[i], bias=False) for i in range(downs)]
        )
        self.down_norms = nn.ModuleList([norm(f"BatchNorm_{i - 1}", widths[i]) for i in range(1, inner)])
        # from the innermost to the outermost; all but the innermost take a skip and the layer below
        self.ups = nn.ModuleList(
            [
                up_conv(f"up{i}", widths[i] * (1 if i == inner else 2), widths[i - 1] if i else 3, bias=i == 0)
                for i in reversed(range(downs))
            ]
        )
        self.up_norms = nn.ModuleList(
            [norm(f"BatchNorm_{inner - 1 + n}", widths[i - 1]) for n, i in enumerate(reversed(range(1, downs)))]
        )

    def forward(self, x):
        leaky, relu = nn.LeakyReLU(0.2), nn.ReLU()
        skips = [self.downs[0](x)]
        for layer, layer_norm in zip(self.downs[1:-1], self.down_norms, strict=True):
            skips.append(layer_norm(layer(leaky(skips[-1]))))
        x = self.downs[-1](leaky(skips[-1]))
        for layer, layer_norm in zip(self.ups[:-1], self.up_norms, strict=True):
            x = torch.cat([skips.pop(), layer_norm(layer(relu(x)))], dim=1)
        return torch.tanh(self.ups[-1](relu(x)))


class PatchGAN(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [FEATURES, 2 * FEATURES, 4 * FEATURES, 8 * FEATURES]
        self.layers = nn.Sequential(
            *(conv("conv0", 6, widths[0], bias=True), nn.LeakyReLU(0.2)),
            *(conv("conv1", widths[0], widths[1], bias=False), norm("BatchNorm_0", widths[1]), nn.LeakyReLU(0.2)),
            *(conv("conv2", widths[1], widths[2], bias=False), norm("BatchNorm_1", widths[2]), nn.LeakyReLU(0.2)),
            *(conv("conv3", widths[2], widths[3], stride=1, bias=False), norm("BatchNorm_2", widths[3])),
            nn.LeakyReLU(0.2),
            conv("conv4", widths[3], 1, stride=1, bias=True),
        )

    def forward(self, image, candidate):
        return self.layers(torch.cat([image, candidate], dim=1))


def image(name: str, size: int) -> torch.Tensor:
    values = draw(f"{name}/{size}/image", (BATCH, size, size, 3))
    return torch.tensor(values.transpose(0, 3, 1, 2).copy())


def nhwc(x: torch.Tensor) -> np.ndarray:
    return x.detach().numpy().transpose(0, 2, 3, 1)


def hwio(x: torch.Tensor) -> np.ndarray:
    return x.numpy().transpose(2, 3, 1, 0)


def statistics(model: nn.Module) -> dict[str, np.ndarray]:
    """Running statistics by the number of the norm, all of a network in one array."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    return {
        "mean": np.concatenate([m.running_mean.numpy() for m in norms]),
        "var": np.concatenate([m.running_var.numpy() for m in norms]),
    }


def main() -> None:
    golden = {}
    for size, downs in SIZES.items():
        generator, discriminator = UNet(downs), PatchGAN()
        output = generator(image("input", size))
        logits = discriminator(image("input", size), image("target", size))
        golden[f"{size}/output"] = nhwc(output)
        golden[f"{size}/logits"] = nhwc(logits)
        if size == 32:  # gradients of the sums of squares
            output.square().sum().backward()
            logits.square().sum().backward()
            golden["32/generator_gradient/down1"] = hwio(generator.downs[1].weight.grad)
            golden["32/discriminator_gradient/conv1"] = hwio(discriminator.layers[2].weight.grad)
        for name, network in (("generator", generator), ("discriminator", discriminator)):
            for moment, values in statistics(network).items():
                golden[f"{size}/{name}_{moment}"] = values
    path = pathlib.Path(__file__).with_name("models.npz")
    np.savez_compressed(path, **{name: values.astype(np.float32) for name, values in golden.items()})
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
