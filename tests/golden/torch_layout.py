"""Between PyTorch's names and layouts and those of pix2pix_jax."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

# PyTorch's names of what a layer holds -> ours.
KERNEL = {"weight": "kernel", "bias": "bias"}
NORM = {"weight": "scale", "bias": "bias"}
STATISTICS = {"running_mean": "mean", "running_var": "var", "u": "kernel/u", "sigma": "kernel/sigma"}


def nchw(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(x.transpose(0, 3, 1, 2).copy(), dtype=torch.get_default_dtype())


def nhwc(x: torch.Tensor) -> np.ndarray:
    return x.detach().numpy().transpose(0, 2, 3, 1)


def ours(layer: nn.Module, x: torch.Tensor) -> np.ndarray:
    """A parameter, statistic or gradient of `layer` as pix2pix_jax holds it."""
    values = x.detach().numpy()
    if values.ndim < 4:
        return values
    if isinstance(layer, nn.ConvTranspose2d):  # PyTorch's kernel is that of the convolution this one transposes
        return values.transpose(2, 3, 0, 1)[::-1, ::-1]
    return values.transpose(2, 3, 1, 0)


def theirs(layer: nn.Module, values: np.ndarray) -> torch.Tensor:
    """The inverse of `ours`."""
    if values.ndim == 4:
        is_transposed = isinstance(layer, nn.ConvTranspose2d)
        values = values[::-1, ::-1].transpose(2, 3, 0, 1) if is_transposed else values.transpose(3, 2, 0, 1)
    return torch.tensor(values.copy(), dtype=torch.get_default_dtype())


def _named(network: nn.Module, tensors: str) -> Iterator[tuple[str, nn.Module, torch.Tensor]]:
    for path, layer in network.named_modules():
        is_conv = isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        names = (KERNEL if is_conv else NORM) if tensors == "parameters" else STATISTICS
        for name, x in getattr(layer, f"named_{tensors}")(recurse=False):
            if name in names:
                yield f"{path.replace('.', '/')}/{names[name]}", layer, x


def parameters(network: nn.Module) -> dict[str, tuple[nn.Module, torch.Tensor]]:
    """Our names, in alphabetical order -> (layer, parameter)."""
    return {name: (layer, x) for name, layer, x in sorted(_named(network, "parameters"), key=lambda entry: entry[0])}


def statistics(network: nn.Module) -> dict[str, tuple[nn.Module, torch.Tensor]]:
    """Our names, in alphabetical order -> (layer, running statistic)."""
    return {name: (layer, x) for name, layer, x in sorted(_named(network, "buffers"), key=lambda entry: entry[0])}


def fill(entries: dict[str, tuple[nn.Module, torch.Tensor]], draw) -> None:
    """Sets each tensor to draw(name, its shape in our layout)."""
    for name, (layer, x) in entries.items():
        x.data = theirs(layer, draw(name, ours(layer, x).shape))
