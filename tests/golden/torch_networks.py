"""The published networks in PyTorch, written apart from pix2pix_jax but with its names of layers and options.

Images are (N, C, H, W) here. Dropout is left out: its masks could not be compared.
"""

import math

import torch
from torch import nn
from torch.nn import functional


def make_norm(norm: str, width: int, epsilon: float) -> nn.Module:
    match norm:
        case "batch":
            return nn.BatchNorm2d(width, eps=epsilon)
        case "instance":
            return nn.InstanceNorm2d(width, eps=epsilon)
        case "group":
            return nn.GroupNorm(math.gcd(32, width), width, eps=epsilon)
        case "none":
            return nn.Identity()
    raise ValueError(norm)


def has_bias(bias: str, norm: str, *, published: bool = False, last: bool = False) -> bool:
    """Whether a convolution has a bias; `published` marks those that always have one in the published networks."""
    if bias == "auto":
        return published or norm == "instance"
    return bias == "always" or (bias == "last" and last)


class UNetGenerator(nn.Module):
    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int,
        num_downs: int,
        features: int,
        norm: str = "batch",
        norm_epsilon: float = 1e-5,
        bottleneck_norm: bool = False,
        skips: bool = True,
        slope: float = 0.2,
        decoder_activation: str = "after_concat",
        bias: str = "auto",
    ):
        super().__init__()
        self.num_downs, self.skips, self.leaky = num_downs, skips, nn.LeakyReLU(slope)
        before_concat = decoder_activation == "before_concat"
        # What happens to a skip as it leaves the encoder, to a decoder layer's input, and to its output.
        self.on_skip = self.leaky if before_concat else nn.Identity()
        self.on_input = nn.Identity() if before_concat else nn.ReLU()
        self.on_output = nn.ReLU() if before_concat else nn.Identity()
        widths = [features * min(2**i, 8) for i in range(num_downs)]
        use_bias, last = has_bias(bias, norm), num_downs - 1
        for i, width in enumerate(widths):
            before = widths[i - 1] if i else in_channels
            self.add_module(f"down{i}", nn.Conv2d(before, width, 4, 2, 1, bias=use_bias))
            normed = 0 < i < last or (i == last and bottleneck_norm)
            self.add_module(f"down{i}_norm", make_norm(norm, width, norm_epsilon) if normed else nn.Identity())
        for i, width in enumerate(widths):
            after = widths[i - 1] if i else out_channels
            before = 2 * width if skips and i < last else width
            use_bias = has_bias(bias, norm, published=i == 0, last=i == 0)
            self.add_module(f"up{i}", nn.ConvTranspose2d(before, after, 4, 2, 1, bias=use_bias))
            self.add_module(f"up{i}_norm", make_norm(norm, after, norm_epsilon) if i else nn.Identity())

    def _layer(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return self.get_submodule(f"{name}_norm")(self.get_submodule(name)(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for i in range(self.num_downs):
            x = self._layer(f"down{i}", self.leaky(x) if i else x)
            skips.append(self.on_skip(x))
        x = skips.pop()
        for i in reversed(range(1, self.num_downs)):
            x = self.on_output(self._layer(f"up{i}", self.on_input(x)))
            if self.skips:
                x = torch.cat([skips.pop(), x], dim=1)
        return torch.tanh(self.up0(self.on_input(x)))


class ResNetBlock(nn.Module):
    def __init__(self, width: int, *, norm: str, norm_epsilon: float, use_bias: bool):
        super().__init__()
        for i in range(2):
            conv = nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect", bias=use_bias)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"norm{i}", make_norm(norm, width, norm_epsilon))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = torch.relu(self.norm0(self.conv0(x)))
        return x + self.norm1(self.conv1(inner))


class ResNetGenerator(nn.Module):
    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int,
        features: int,
        num_blocks: int = 9,
        norm: str = "batch",
        norm_epsilon: float = 1e-5,
        bias: str = "auto",
    ):
        super().__init__()
        use_bias = has_bias(bias, norm)

        def add(name: str, conv: nn.Module) -> None:
            self.add_module(name, conv)
            self.add_module(f"{name}_norm", make_norm(norm, conv.out_channels, norm_epsilon))

        def up(before: int, after: int) -> nn.Module:
            return nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=1, bias=use_bias)

        add("stem", nn.Conv2d(in_channels, features, 7, padding=3, padding_mode="reflect", bias=use_bias))
        add("down0", nn.Conv2d(features, 2 * features, 3, 2, 1, bias=use_bias))
        add("down1", nn.Conv2d(2 * features, 4 * features, 3, 2, 1, bias=use_bias))
        self.blocks = [f"block{k}" for k in range(num_blocks)]
        for name in self.blocks:
            block = ResNetBlock(4 * features, norm=norm, norm_epsilon=norm_epsilon, use_bias=use_bias)
            self.add_module(name, block)
        add("up1", up(4 * features, 2 * features))
        add("up0", up(2 * features, features))
        use_bias = has_bias(bias, norm, published=True, last=True)
        self.head = nn.Conv2d(features, out_channels, 7, padding=3, padding_mode="reflect", bias=use_bias)

    def _layer(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.get_submodule(f"{name}_norm")(self.get_submodule(name)(x)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in ("stem", "down0", "down1"):
            x = self._layer(name, x)
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        for name in ("up1", "up0"):
            x = self._layer(name, x)
        return torch.tanh(self.head(x))


class SpectralConv(nn.Conv2d):
    """Divides its kernel, as a matrix out x (in * height * width), by its largest singular value.

    That is estimated by one power iteration from `u`, of any length; the gradient takes both vectors as given. `u` and
    `sigma` hold the estimate afterwards.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer("u", torch.zeros(1, self.out_channels))
        self.register_buffer("sigma", torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        matrix = self.weight.flatten(1)
        with torch.no_grad():
            v = functional.normalize(self.u @ matrix)
            self.u = functional.normalize(v @ matrix.T)
        sigma = (self.u @ matrix @ v.T).squeeze()
        self.sigma = sigma.detach()
        return self._conv_forward(x, self.weight / sigma, self.bias)


class PatchDiscriminator(nn.Module):
    """`features` holds, after a pass, what every leaky ReLU gave."""

    def __init__(
        self,
        in_channels: int,
        candidate_channels: int,
        *,
        features: int,
        num_layers: int = 3,
        norm: str = "batch",
        norm_epsilon: float = 1e-5,
        padding: str = "zero",
        conditional: bool = True,
        slope: float = 0.2,
        bias: str = "auto",
        spectral_norm: bool = False,
    ):
        super().__init__()
        self.conditional, self.leaky, self.last = conditional, nn.LeakyReLU(slope), max(num_layers, 1) + 1
        before = candidate_channels + (in_channels if conditional else 0)
        conv = SpectralConv if spectral_norm else nn.Conv2d
        for i in range(self.last + 1):
            is_last = i == self.last
            width = 1 if is_last else features * min(2**i, 8)
            published = i == 0 or (is_last and num_layers > 0)  # the pixel discriminator's last layer is no exception
            use_bias = has_bias(bias, norm, published=published, last=is_last)
            options = {"kernel_size": 1}
            if num_layers:
                mode = {"zero": "zeros", "reflect": "reflect"}[padding]
                options = {"kernel_size": 4, "stride": 2 if i < num_layers else 1, "padding": 1, "padding_mode": mode}
            self.add_module(f"conv{i}", conv(before, width, bias=use_bias, **options))
            self.add_module(
                f"conv{i}_norm", nn.Identity() if i == 0 or is_last else make_norm(norm, width, norm_epsilon)
            )
            before = width

    def forward(self, image: torch.Tensor, candidate: torch.Tensor) -> torch.Tensor:
        x = torch.cat([image, candidate], dim=1) if self.conditional else candidate
        self.features = []
        for i in range(self.last):
            x = self.leaky(self.get_submodule(f"conv{i}_norm")(self.get_submodule(f"conv{i}")(x)))
            self.features.append(x)
        return self.get_submodule(f"conv{self.last}")(x)


class MultiScaleDiscriminator(nn.Module):
    """The same discriminator, with parameters of its own, on ever smaller averages of its inputs."""

    def __init__(self, *channels: int, num_scales: int, **options):
        super().__init__()
        self.scales = [f"scale{k}" for k in range(num_scales)]
        for name in self.scales:
            self.add_module(name, PatchDiscriminator(*channels, **options))

    @property
    def features(self) -> list[list[torch.Tensor]]:
        return [self.get_submodule(name).features for name in self.scales]

    def forward(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        logits = []
        for name in self.scales:
            logits.append(self.get_submodule(name)(*inputs))
            inputs = [functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False) for x in inputs]
        return logits
