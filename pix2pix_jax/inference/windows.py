"""Runs a generator on a window of a picture as it would run on the whole picture.

What a layer sees beyond a window's edge is cut off, so the pixels near the edge are wrong and the caller drops them.
All else is as in the whole picture: beyond the picture's own border every convolution sees its padding, norms use the
moments of the whole picture, and dropout is drawn by a pixel's place in the picture. A picture that is smaller than the
window is a window, too: one compiled program serves all pictures that fit into it.

The networks know nothing of this. Flax calls `Windowed.intercept` instead of their layers.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from pix2pix_jax.inference.window_dropout import keep_mask
from pix2pix_jax.models.convolutions.layers import Convolution
from pix2pix_jax.models.norms import BatchNorm, InstanceNorm


class Window(flax.struct.PyTreeNode):
    """Places a window in its picture; int32 scalars, in pixels, multiples of the deepest layer's pixel.

    Attributes:
      top, left: the window's first row and column; they may lie outside of the picture.
      height, width: the picture's.
      own: (top, bottom, left, right) of the part whose pixels count for moments; each pixel of the picture is in one
        window's part.
    """

    top: jax.Array
    left: jax.Array
    height: jax.Array
    width: jax.Array
    own: tuple[jax.Array, jax.Array, jax.Array, jax.Array]

    @classmethod
    def of(cls, top: int, left: int, size: tuple[int, int], own: tuple[int, int, int, int] | None = None) -> "Window":
        """Makes a window of a picture of `size` (H, W); by default all of the picture counts."""
        numbers = (top, left, *size, own or (0, size[0], 0, size[1]))
        return cls(*jax.tree.map(np.int32, numbers))


class Moments(NamedTuple):
    """Holds moments of channels: number of pixels (), mean (C,) and biased variance (C,), float32."""

    count: jax.Array
    mean: jax.Array
    var: jax.Array


@dataclasses.dataclass
class Windowed:
    """Replaces what layers do in a window; for one forward pass.

    Attributes:
      window: the window.
      rows: height of the window in pixels, a Python int: a layer's scale is told by its height.
      known: moments of the whole picture by norm, for those that are known. The others use the window's own.
      measured: the window's own moments by norm, in the order of the layers; filled by the pass.
    """

    window: Window
    rows: int
    known: Mapping[str, Moments]
    measured: dict[str, Moments] = dataclasses.field(default_factory=dict)

    def intercept(self, layer: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        """Calls a layer; see `flax.linen.intercept_methods`."""
        module = context.module
        if context.method_name != "__call__":
            return layer(*args, **kwargs)
        if isinstance(module, Convolution):
            return layer(self._padded(args[0], getattr(module, "padding", "zero")))
        if isinstance(module, nn.Dropout) and module.rate and not module.deterministic:
            return self._drop(module, args[0])
        if isinstance(module, BatchNorm | InstanceNorm | nn.GroupNorm) and not kwargs.get("use_running_average"):
            return self._normalise(module, args[0])
        return layer(*args, **kwargs)

    def _places(self, x: jax.Array) -> tuple[jax.Array, jax.Array, int]:
        """Returns (row numbers (h, 1), column numbers (1, w) of x in the picture, pixels that one of x covers)."""
        scale = self.rows // x.shape[1]
        rows = self.window.top // scale + jnp.arange(x.shape[1])
        columns = self.window.left // scale + jnp.arange(x.shape[2])
        return rows[:, None], columns[None, :], scale

    def _padded(self, x: jax.Array, padding: str) -> jax.Array:
        """Fills what lies beyond the picture's border as the convolution's padding would."""
        rows, columns, scale = self._places(x)
        height, width = self.window.height // scale, self.window.width // scale
        if padding == "reflect":
            x = jnp.take(x, _reflected(rows[:, 0], height) - rows[0, 0], axis=1, mode="clip")
            return jnp.take(x, _reflected(columns[0], width) - columns[0, 0], axis=2, mode="clip")
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return jnp.where(inside[None, ..., None], x, 0)

    def _drop(self, module: nn.Dropout, x: jax.Array) -> jax.Array:
        rows, columns, scale = self._places(x)
        keep = 1 - module.rate
        index = rows * (self.window.width // scale) + columns
        kept = keep_mask(module.make_rng("dropout"), index, x.shape[-1], keep)
        return lax.select(kept[None], x / keep, jnp.zeros_like(x))

    def _normalise(self, module: nn.Module, x: jax.Array) -> jax.Array:
        name = "/".join(module.path)
        self.measured[name] = own = self._moments(x)
        _, mean, var = self.known.get(name, own)
        if isinstance(module, nn.GroupNorm):
            mean, var = _of_groups(mean, var, module.num_groups)
        factor, bias = lax.rsqrt(var + module.epsilon), jnp.zeros(())
        if not isinstance(module, InstanceNorm):
            factor, bias = factor * module.get_variable("params", "scale"), module.get_variable("params", "bias")
        mean, factor, bias = (values.reshape(1, 1, 1, -1) for values in (mean, factor, bias))
        return ((x.astype(jnp.float32) - mean) * factor + bias).astype(module.dtype or x.dtype)

    def _moments(self, x: jax.Array) -> Moments:
        rows, columns, scale = self._places(x)
        top, bottom, left, right = (edge // scale for edge in self.window.own)
        own = ((rows >= top) & (rows < bottom) & (columns >= left) & (columns < right))[..., None]
        count = own.sum().astype(jnp.float32)
        x = x[0].astype(jnp.float32)
        mean = jnp.where(own, x, 0).sum((0, 1), keepdims=True) / count
        var = jnp.where(own, jnp.square(x - mean), 0).sum((0, 1)) / count
        return Moments(count, mean.reshape(-1), var)


def _reflected(index: jax.Array, size: jax.Array) -> jax.Array:
    """Reflects numbers that are at most `size` - 1 beyond [0, size)."""
    index = jnp.abs(index)
    return size - 1 - jnp.abs(size - 1 - index)


def _of_groups(mean: jax.Array, var: jax.Array, groups: int) -> tuple[jax.Array, jax.Array]:
    """Joins channels' moments to those of their groups of neighbouring channels, and repeats them for each channel."""
    in_group = mean.reshape(groups, -1)
    joined = in_group.mean(1, keepdims=True)
    spread = (var.reshape(groups, -1) + jnp.square(in_group - joined)).mean(1)
    each = mean.size // groups
    return jnp.repeat(joined[:, 0], each), jnp.repeat(spread, each)
