"""LPIPS, a perceptual distance between images (Zhang et al. 2018): version 0.1 with AlexNet."""

import re
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
WIDTHS = tuple(width for width, *_ in _LAYERS)
_PLACES = ("0", "3", "6", "8", "10")  # of each convolution in torchvision's list of layers
_CONVOLUTION = re.compile(r"(?:features(?:\.\w+)*|net\.\w+)\.(\d+)\.(weight|bias)")
_LIN = re.compile(r"(lin[0-4])\.model\.1\.weight")


class _AlexNet(nn.Module):
    """Returns the activations after each convolution."""

    dtype: Any
    precision: lax.Precision | None

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        activations = []
        for i, (width, kernel, stride, padding, pooled) in enumerate(_LAYERS):
            if pooled:
                x = nn.max_pool(x, (3, 3), strides=(2, 2))
            options = {"dtype": self.dtype, "precision": self.precision, "name": f"conv{i}"}
            x = nn.relu(nn.Conv(width, (kernel, kernel), stride, padding, **options)(x))
            activations.append(x.astype(jnp.float32))
        return activations


class LPIPS(nn.Module):
    """Maps two batches of images, float32 (N, H, W, 3) in [-1, 1] with H, W >= SIDE, to distances (N,), 0 if equal.

    Attributes:
      dtype: dtype of the convolutions.
      precision: their precision; the default is what a metric needs, a loss can do with the device's own.
    """

    dtype: Any = jnp.float32
    precision: lax.Precision | None = lax.Precision.HIGHEST

    @nn.compact
    def __call__(self, output: jax.Array, target: jax.Array) -> jax.Array:
        # Pairs stay side by side in the batch, so that no pixel travels where devices share it.
        pictures = (jnp.stack([output, target], axis=1).reshape(-1, *output.shape[1:]) - _SHIFT) / _SCALE
        distance = jnp.zeros(len(output))
        for i, activations in enumerate(_AlexNet(self.dtype, self.precision, name="alexnet")(pictures)):
            # Activations are compared by their direction; 1e-10 is what the authors add to the norm. Where all are 0,
            # the root would have no gradient.
            norms = jnp.sqrt(jnp.maximum(jnp.square(activations).sum(-1, keepdims=True), 1e-30))
            directions = (activations / (norms + 1e-10)).reshape(-1, 2, *activations.shape[1:])
            weights = self.param(f"lin{i}", nn.initializers.ones, (activations.shape[-1],))
            distance += jnp.matmul(
                jnp.square(directions[:, 0] - directions[:, 1]), weights, precision=self.precision
            ).mean((1, 2))
        return distance


def activations(
    weights: Mapping[str, Any], images: jax.Array, *, dtype: Any, precision: lax.Precision | None
) -> list[jax.Array]:
    """Computes what AlexNet alone makes of images.

    Args:
      weights: the network's variables (`variables`).
      images: (N, H, W, 3) in [-1, 1], H, W >= SIDE.
      dtype: dtype of the convolutions.
      precision: their precision.

    Returns:
      The five layers' float32 activations (N, h, w, WIDTHS[i]).
    """
    params = weights["params"]["alexnet"]
    return _AlexNet(dtype, precision).apply({"params": params}, (images - _SHIFT) / _SCALE)


def shapes() -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the arrays that the network needs: `convN.kernel` (HWIO), `convN.bias`, `linN.weight`."""
    images = jnp.zeros((1, SIDE, SIDE, 3))
    params = jax.eval_shape(LPIPS().init, jax.random.key(0), images, images)["params"]
    arrays = traverse_util.flatten_dict(params.pop("alexnet"), sep=".")
    arrays |= {f"{name}.weight": array for name, array in params.items()}
    return {name: array.shape for name, array in arrays.items()}


def variables(weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Converts arrays, named as in `shapes`, to the network's variables."""
    lins = {name.removesuffix(".weight"): array for name, array in weights.items() if name.startswith("lin")}
    layers = {name: array for name, array in weights.items() if name.startswith("conv")}
    return {"params": {"alexnet": traverse_util.unflatten_dict(layers, sep="."), **lins}}


def from_torch(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames PyTorch's arrays as in `shapes`; leaves out what is not part of LPIPS.

    They are those of the `lpips` package's network, or torchvision's AlexNet and that package's linear layers together.
    """
    answer = {}
    for name, array in weights.items():
        if lin := _LIN.fullmatch(name):
            answer[f"{lin[1]}.weight"] = array.reshape(-1)
        elif (conv := _CONVOLUTION.fullmatch(name)) and conv[1] in _PLACES:
            layer = f"conv{_PLACES.index(conv[1])}"
            if conv[2] == "bias":
                answer[f"{layer}.bias"] = array
            elif array.ndim == 4:  # a stranger's file may hold anything
                answer[f"{layer}.kernel"] = array.transpose(2, 3, 1, 0)
    return answer
