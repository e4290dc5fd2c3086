"""Translates a picture at its own size, as one piece or in tiles, with the same result.

A picture is padded by reflection to a size that the generator takes. Tiles overlap by what the layers at full and half
size see of their neighbours, 32 pixels at each side for a U-Net; its inner layers, which see everything, run on the whole
picture, where it is 16 times smaller. Norms take the moments of the whole picture: a pass over all tiles measures those
of one norm, with those before it known. So nothing has to be blended.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from pix2pix_jax.data.files.value_range import ValueRange, from_float, to_float
from pix2pix_jax.inference.windows import Moments, Window, Windowed
from pix2pix_jax.models import ResNetGenerator, UNetGenerator
from pix2pix_jax.models.convolutions import layers

_IN_FLIGHT = 2  # tiles: one is computed while the next is read and the last is written
_UNET_DEPTH = 4  # layers that run in tiles; the others see 1/256 of the pixels, and hold the published dropout


class Picture(Protocol):
    """A picture that need not fit into memory.

    Attributes:
      shape: (H, W, C).
    """

    shape: tuple[int, int, int]

    def read(self, top: int, bottom: int) -> np.ndarray:
        """Returns the rows from `top` to `bottom`, (bottom - top, W, C), as stored."""
        ...


class ArrayPicture:
    """A picture (H, W, C) in memory."""

    def __init__(self, array: np.ndarray):
        self._array, self.shape = array, array.shape

    def read(self, top: int, bottom: int) -> np.ndarray:
        return self._array[top:bottom]


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Says how a picture is cut.

    Attributes:
      side: side of a tile as the network sees it, in pixels.
      overlap: pixels that neighbouring tiles share.
    """

    side: int = 1024
    overlap: int = 128

    @property
    def halo(self) -> int:
        return self.overlap // 2

    @property
    def core(self) -> int:
        """Side of the part of a tile that is kept."""
        return self.side - 2 * self.halo


def context(generator: nn.Module, depth: int) -> int:
    """Returns how many pixels beyond a tile its kept part depends on, where layers from `depth` on see the whole."""
    if isinstance(generator, UNetGenerator):
        return 2 ** (depth + 1)
    return 8 if depth == 2 else 4 * (2 * generator.num_blocks + 4) + 8


class NativeTranslator:
    """Translates pictures of any size; the compiled programs serve all of them."""

    def __init__(
        self,
        generator: nn.Module,
        variables: Any,
        *,
        color: Any,
        values: tuple[ValueRange, ValueRange],
        multiple: int,
        norm_stats: str,
        dropout: bool,
        platform: str,
    ):
        """Holds what the programs need.

        Args:
          generator: a U-Net or ResNet.
          variables: its params and batch_stats.
          color: a colour space of `data.color`.
          values: value ranges of inputs and targets.
          multiple: number of which both sides of the generator's images must be multiples.
          norm_stats: "running": averages of training; all others: the picture's own, as every picture goes alone.
          dropout: whether dropout is on.
          platform: "cpu", "gpu" or "tpu".
        """
        self._generator, self._variables, self._color = generator, variables, color
        self._values, self.multiple, self._platform = values, multiple, platform
        # Other norms have no running statistics.
        self._running, self._dropout = norm_stats == "running" and generator.norm in ("batch", "none"), dropout
        self._is_unet = isinstance(generator, UNetGenerator)

    def whole(self, picture: Picture, key: jax.Array) -> np.ndarray:
        """Translates a picture in one pass. Returns (H, W, D) as stored."""
        height, width = padded = self._padded_size(picture)
        shape = tuple(bucket(side, self.multiple) for side in padded)
        pixels = _pixels(picture, (0, shape[0]), padded[0])[:, _columns(picture, (0, shape[1]), padded[1])]
        window = _window(0, 0, padded, own=(0, height, 0, width))
        output = self._run(self._variables, pixels[None], window, key, {}, None, wanted="output", depth=0)
        return np.asarray(output)[0, : picture.shape[0], : picture.shape[1]]

    def tiled(
        self, picture: Picture, key: jax.Array, tiles: Tiles, *, progress: Callable[[int, int], None] = lambda *_: None
    ) -> Iterator[np.ndarray]:
        """Translates a picture in tiles.

        Args:
          picture: the picture.
          key: draws dropout.
          tiles: how to cut.
          progress: called with (tiles done, tiles in all passes).

        Yields:
          Bands of all columns, (h, W, D) as stored, from the top down.
        """
        run = _Passes(self, picture, key, tiles, progress)
        return run.bands()

    def _padded_size(self, picture: Picture) -> tuple[int, int]:
        height, width, _ = picture.shape
        return _rounded(height, self.multiple), _rounded(width, self.multiple)

    @functools.cached_property
    def norms(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the norms that run in tiles, before and after the inner layers."""
        if self._running:
            return (), ()
        side, depth = max(self.multiple, 8), self.depth
        names: list[tuple[str, ...]] = []

        def note(pixels, window, key, windowed_names):
            windowed = self._windowed(window, side, {})

            def inside(x):
                windowed_names.append(tuple(windowed.measured))
                return jnp.zeros((1, *x.shape[1:3], self._inner_channels))

            self._apply(self._variables, pixels, key, windowed, inner=(depth, inside))
            windowed_names.append(tuple(windowed.measured))
            return ()

        pixels = jnp.zeros((1, side, side, self._in_channels))
        jax.eval_shape(lambda: note(pixels, _window(0, 0, (side, side), (0, side, 0, side)), jax.random.key(0), names))
        before, everything = names
        return before, everything[len(before) :]

    @property
    def depth(self) -> int:
        return min(_UNET_DEPTH, self._generator.num_downs - 1) if self._is_unet else 2

    @property
    def _in_channels(self) -> int:
        params = self._variables["params"]
        return params["down0" if self._is_unet else "stem"]["kernel"].shape[2]

    @property
    def _inner_channels(self) -> int:
        """Channels of what the inner layers return."""
        if self._is_unet:
            return self._generator.features * min(2 ** (self.depth - 1), 8)
        return self._generator.features * 4

    def _windowed(self, window: Window, rows: int, known: dict[str, Moments]) -> Windowed:
        return Windowed(window, rows, known)

    def _apply(self, variables: Any, x: jax.Array, key: jax.Array, windowed: Windowed, **options: Any) -> jax.Array:
        with nn.intercept_methods(windowed.intercept):
            output, _ = self._generator.apply(
                variables,
                x,
                use_running_average=self._running,
                deterministic=not self._dropout,
                rngs={"dropout": key},
                mutable=["batch_stats"],
                **options,
            )
        return output

    @functools.cached_property
    def _run(self) -> Callable[..., Any]:
        """The compiled pass over one window; see `_pass`."""
        return jax.jit(layers.traced_for(self._platform)(self._pass), static_argnames=("wanted", "depth"))

    def _pass(self, variables, stored, window, key, known, inside, *, wanted: str, depth: int):
        """Runs the generator on one window.

        Args:
          variables: the generator's.
          stored: (1, h, w, C) as stored.
          window: where that is.
          key: draws dropout.
          known: moments by name of norm.
          inside: (1, h / 2**depth, w / 2**depth, C') what the inner layers return; None while it is not known.
          wanted: "output" (as stored), "inner" (what the inner layers take), or the name of a norm (its moments).
          depth: the inner layers; 0 runs all of them in the window.
        """
        windowed = self._windowed(window, stored.shape[1], known)
        taken = {}

        def inner(x):
            taken["inner"] = x
            return jnp.zeros((1, *x.shape[1:3], self._inner_channels), x.dtype) if inside is None else inside

        def generate(x):
            return self._apply(variables, x, key, windowed, **({"inner": (depth, inner)} if depth else {}))

        output = self._color.translate(to_float(stored, self._values[0]), generate)
        if wanted == "output":
            return from_float(output, self._values[1])
        return (taken | windowed.measured)[wanted]

    @functools.cached_property
    def run_inner(self) -> Callable[..., jax.Array]:
        """The compiled inner layers: f(variables, x, window, key) -> what they return."""

        def run(variables, x, window, key):
            windowed = self._windowed(window, x.shape[1] << self.depth, {})
            return self._apply(variables, x, key, windowed, start=self.depth)

        return jax.jit(layers.traced_for(self._platform)(run))


class _Passes:
    """The passes over one picture in tiles."""

    def __init__(self, translator: NativeTranslator, picture: Picture, key: jax.Array, tiles: Tiles, progress):
        self._t, self._picture, self._key, self._tiles, self._progress = translator, picture, key, tiles, progress
        self._padded = translator._padded_size(picture)
        self._known: dict[str, Moments] = {}
        self._inner: np.ndarray | None = None
        self._scale = 2**translator.depth
        self._rows, self._lefts = (range(0, side, tiles.core) for side in self._padded)
        self._done, before_and_after = 0, translator.norms
        self._total = (sum(map(len, before_and_after)) + 2) * len(self._rows) * len(self._lefts)

    def bands(self) -> Iterator[np.ndarray]:
        before, after = self._t.norms
        for name in before:
            self._measure(name)
        self._inner = self._run_inner(self._collect())
        for name in after:
            self._measure(name)
        height, width, _ = self._picture.shape
        for top, row in self._by_rows("output"):
            bottom = min(top + self._tiles.core, height)
            if top < height:
                yield np.concatenate(row, axis=1)[: bottom - top, :width]

    def _measure(self, name: str) -> None:
        parts = [moments for _, row in self._by_rows(name) for moments in row]
        self._known[name] = _joined(parts)

    def _collect(self) -> np.ndarray:
        rows = [np.concatenate(row, axis=1) for _, row in self._by_rows("inner")]
        height, width = (side // self._scale for side in self._padded)
        return np.concatenate(rows)[:height, :width]

    def _run_inner(self, collected: np.ndarray) -> np.ndarray:
        multiple = self._t.multiple // self._scale
        shape = [bucket(side, multiple) for side in collected.shape[:2]]
        height, width = self._padded
        filled = np.pad(collected, [(0, side - own) for side, own in zip(shape, collected.shape[:2], strict=True)] + [(0, 0)])
        window = _window(0, 0, self._padded, (0, height, 0, width))
        inner = self._t.run_inner(self._t._variables, filled[None], window, self._key)
        return np.asarray(inner)[0, : collected.shape[0], : collected.shape[1]]

    def _by_rows(self, wanted: str) -> Iterator[tuple[int, list]]:
        """Yields (top, results of its tiles from left to right) of each row of tiles."""
        flying: collections.deque[tuple[int, Any]] = collections.deque()
        row: list = []
        for top in self._rows:
            for result in self._dispatch_row(top, wanted):
                flying.append((top, result))
                if len(flying) > _IN_FLIGHT:
                    row.append(self._land(*flying.popleft(), wanted))
                if len(row) == len(self._lefts):
                    yield row[0][0], [one for _, one in row]
                    row = []
        while flying:
            row.append(self._land(*flying.popleft(), wanted))
            if len(row) == len(self._lefts):
                yield row[0][0], [one for _, one in row]
                row = []

    def _land(self, top: int, result: Any, wanted: str) -> tuple[int, Any]:
        self._done += 1
        self._progress(self._done, self._total)
        result = jax.tree.map(np.asarray, result)
        if wanted not in ("inner", "output"):
            return top, result
        scale = self._scale if wanted == "inner" else 1
        first, last = self._tiles.halo // scale, (self._tiles.halo + self._tiles.core) // scale
        return top, result[0, first:last, first:last]

    def _dispatch_row(self, top: int, wanted: str) -> Iterator[Any]:
        halo, side, core = self._tiles.halo, self._tiles.side, self._tiles.core
        height, width = self._padded
        pixels = _pixels(self._picture, (top - halo, top - halo + side), height)
        for left in self._lefts:
            own = (top, min(top + core, height), left, min(left + core, width))
            window = _window(top - halo, left - halo, self._padded, own)
            part = pixels[:, _columns(self._picture, (left - halo, left - halo + side), width)]
            inside = None if self._inner is None else self._inner_part(top - halo, left - halo)
            yield self._t._run(
                self._t._variables, part[None], window, self._key, self._known, inside, wanted=wanted, depth=self._t.depth
            )

    def _inner_part(self, top: int, left: int) -> np.ndarray:
        size, (height, width, channels) = self._tiles.side // self._scale, self._inner.shape
        part = np.zeros((1, size, size, channels), self._inner.dtype)
        y, x = top // self._scale, left // self._scale
        rows, columns = slice(max(y, 0), min(y + size, height)), slice(max(x, 0), min(x + size, width))
        part[0, rows.start - y : rows.stop - y, columns.start - x : columns.stop - x] = self._inner[rows, columns]
        return part


def bucket(side: int, multiple: int) -> int:
    """Returns the smallest of multiple * (1, 2, 3, 4, 6, 8, 12, 16 ...) that is at least `side`."""
    size = 1
    while size * multiple < side:
        size = size + 1 if size < 4 else size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size * multiple


def _rounded(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


def _window(top: int, left: int, size: tuple[int, int], own: tuple[int, int, int, int]) -> Window:
    numbers = jax.tree.map(np.int32, (top, left, *size, own))
    return Window(top=numbers[0], left=numbers[1], height=numbers[2], width=numbers[3], own=numbers[4])


def _pixels(picture: Picture, rows: tuple[int, int], height: int) -> np.ndarray:
    """Reads rows of a picture that is padded by reflection to `height`; what lies outside of that does not matter."""
    index = _reflected(np.arange(*rows).clip(0, height - 1), picture.shape[0])
    first = index.min()
    return picture.read(first, index.max() + 1)[index - first]


def _columns(picture: Picture, columns: tuple[int, int], width: int) -> np.ndarray:
    return _reflected(np.arange(*columns).clip(0, width - 1), picture.shape[1])


def _reflected(index: np.ndarray, size: int) -> np.ndarray:
    """Reflects any numbers into [0, size) without repeating the border, as NumPy's padding "reflect"."""
    period = max(2 * size - 2, 1)
    index = index % period
    return np.minimum(index, period - index)


def _joined(parts: list[Moments]) -> Moments:
    """Joins the moments of disjoint parts, in float64."""
    parts = [Moments(*(np.asarray(x, np.float64) for x in part)) for part in parts if part.count]
    count = sum(part.count for part in parts)
    mean = sum(part.count * part.mean for part in parts) / count
    var = sum(part.count * (part.var + (part.mean - mean) ** 2) for part in parts) / count
    return Moments(*(np.float32(x) for x in (count, mean, var)))
