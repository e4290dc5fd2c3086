"""LPIPS, a perceptual distance between images (Zhang et al. 2018): version 0.1 with AlexNet."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import lax

SIDE = 32  # smallest side in pixels: its pools leave nothing of smaller images
_SHIFT = np.float32([-0.030, -0.088, -0.188]).reshape(1, 1, 1, 3)
_SCALE = np.float32([0.458, 0.448, 0.450]).reshape(1, 1, 1, 3)
_LAYERS = (  # features, kernel, stride, padding, whether a max pool comes before
    (64, 11, 4, 2, False),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, True),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, False),
)


class _AlexNet(nn.Module):
    """Returns the activations after each convolution."""

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        activations = []
        for i, (width, kernel, stride, padding, pooled) in enumerate(_LAYERS):
            if pooled:
                x = nn.max_pool(x, (3, 3), strides=(2, 2))
            x = nn.Conv(
                width,
                (kernel, kernel),
                strides=stride,
                padding=padding,
                precision=lax.Precision.HIGHEST,
                name=f"conv{i}",
            )(x)
            x = nn.relu(x)
            activations.append(x)
        return activations


class LPIPS(nn.Module):
    """Maps two batches of images, float32 (N, H, W, 3) in [-1, 1] with H, W >= SIDE, to distances (N,), 0 if equal."""

    @nn.compact
    def __call__(self, output: jax.Array, target: jax.Array) -> jax.Array:
        pictures = (jnp.concatenate([output, target]) - _SHIFT) / _SCALE
        distance = jnp.zeros(len(output))
        for i, activations in enumerate(_AlexNet(name="alexnet")(pictures)):
            # Activations are compared by their direction; 1e-10 is what the authors add to the norm.
            norms = jnp.sqrt(jnp.square(activations).sum(-1, keepdims=True))
            ours, theirs = jnp.split(activations / (norms + 1e-10), 2)
            weights = self.param(f"lin{i}", nn.initializers.ones, (activations.shape[-1],))
            distance += jnp.matmul(jnp.square(ours - theirs), weights, precision=lax.Precision.HIGHEST).mean((1, 2))
        return distance


def shapes() -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the arrays that the network needs: `convN.kernel` (HWIO), `convN.bias`, `linN.weight`."""
    images = jnp.zeros((1, SIDE, SIDE, 3))
    params = jax.eval_shape(LPIPS().init, jax.random.key(0), images, images)["params"]
    return {name: array.shape for name, array in _flat_names(params).items()}


def _flat_names(params: Mapping[str, Any]) -> dict[str, Any]:
    layers = traverse_util.flatten_dict(params["alexnet"], sep=".")
    return layers | {f"{name}.weight": params[name] for name in params if name != "alexnet"}


def variables(weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Converts arrays, named as in `shapes`, to the network's variables."""
    lins = {name.removesuffix(".weight"): array for name, array in weights.items() if name.startswith("lin")}
    layers = {name: array for name, array in weights.items() if name.startswith("conv")}
    return {"params": {"alexnet": traverse_util.unflatten_dict(layers, sep="."), **lins}}


def from_torch(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames PyTorch's arrays as in `shapes`; leaves out what is not part of LPIPS.

    Args:
      weights: the state dict of the `lpips` package's network, or torchvision's AlexNet and that package's linear
        layers in one dict.
    """
    places = {place: i for i, place in enumerate((0, 3, 6, 8, 10))}  # index of each convolution in torchvision's list
    answer = {}
    for name, array in weights.items():
        parts = name.split(".")
        if parts[0] in {f"lin{i}" for i in range(len(_LAYERS))} and parts[1:] == ["model", "1", "weight"]:
            answer[f"{parts[0]}.weight"] = array.reshape(-1)
        elif len(parts) < 3:
            continue
        elif (parts[0] == "features" or parts[:-2] == ["net", parts[1]]) and parts[-2].isdigit():
            layer = places.get(int(parts[-2]))
            if layer is not None and parts[-1] == "weight" and array.ndim == 4:
                answer[f"conv{layer}.kernel"] = array.transpose(2, 3, 1, 0)
            elif layer is not None and parts[-1] == "bias":
                answer[f"conv{layer}.bias"] = array
    return answer
