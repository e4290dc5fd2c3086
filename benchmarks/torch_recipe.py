"""The published recipe in PyTorch, written for this project from the paper's appendix, to measure against."""

import torch
from torch import nn


def down(channels_in: int, channels_out: int, norm: bool) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(channels_in, channels_out, 4, 2, 1, bias=False)]
    return layers + ([nn.BatchNorm2d(channels_out)] if norm else [])


class UNet(nn.Module):
    """U-Net generator with `num_downs` halvings; (N, 3, H, W) in [-1, 1] in and out."""

    def __init__(self, num_downs: int, features: int):
        super().__init__()
        widths = [features * min(2**i, 8) for i in range(num_downs)]
        inner = num_downs - 1
        self.downs = nn.ModuleList(
            nn.Sequential(*down(3 if i == 0 else widths[i - 1], width, norm=0 < i < inner))
            for i, width in enumerate(widths)
        )
        self.ups = nn.ModuleList()
        for i in range(num_downs):
            channels_in = widths[i] * (1 if i == inner else 2)
            if i == 0:
                self.ups.append(nn.Sequential(nn.ConvTranspose2d(channels_in, 3, 4, 2, 1), nn.Tanh()))
                continue
            layers = [
                nn.ConvTranspose2d(channels_in, widths[i - 1], 4, 2, 1, bias=False),
                nn.BatchNorm2d(widths[i - 1]),
            ]
            self.ups.append(nn.Sequential(*layers, *([nn.Dropout(0.5)] if 4 <= i < inner else [])))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for i, layer in enumerate(self.downs):
            x = layer(nn.functional.leaky_relu(x, 0.2) if i else x)
            skips.append(x)
        x = skips.pop()
        for layer in reversed(self.ups[1:]):
            x = torch.cat([skips.pop(), layer(nn.functional.relu(x))], 1)
        return self.ups[0](nn.functional.relu(x))


def patch_discriminator(features: int) -> nn.Module:
    """70x70 PatchGAN on 6 channels; logits."""
    layers: list[nn.Module] = [nn.Conv2d(6, features, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for i, stride in ((1, 2), (2, 2), (3, 1)):
        width = features * 2**i
        layers += [
            nn.Conv2d(width // 2, width, 4, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.2, True),
        ]
    return nn.Sequential(*layers, nn.Conv2d(features * 8, 1, 4, 1, 1))


class Trainer:
    """Sequential updates, discriminator first, as users of the popular implementation run them."""

    def __init__(self, *, num_downs: int, features: int):
        self.generator, self.discriminator = UNet(num_downs, features), patch_discriminator(features)
        adam = {"lr": 2e-4, "betas": (0.5, 0.999)}
        self._g_adam = torch.optim.Adam(self.generator.parameters(), **adam)
        self._d_adam = torch.optim.Adam(self.discriminator.parameters(), **adam)

    def step(self, image: torch.Tensor, target: torch.Tensor) -> float:
        """One update of both networks on (N, 3, H, W) images in [-1, 1]; returns the generator's loss."""
        fake = self.generator(image)
        self.discriminator.requires_grad_(True)
        self._d_adam.zero_grad()
        loss = self._gan_loss(image, fake.detach(), 0.0) + self._gan_loss(image, target, 1.0)
        (loss / 2).backward()
        self._d_adam.step()

        self.discriminator.requires_grad_(False)
        self._g_adam.zero_grad()
        loss = self._gan_loss(image, fake, 1.0) + 100 * (fake - target).abs().mean()
        loss.backward()
        self._g_adam.step()
        return loss.item()

    def _gan_loss(self, image: torch.Tensor, candidate: torch.Tensor, label: float) -> torch.Tensor:
        logits = self.discriminator(torch.cat([image, candidate], 1))
        return nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
