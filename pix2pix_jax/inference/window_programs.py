"""The compiled programs that run a generator on windows of a picture: one for each thing that is wanted of a window."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from pix2pix_jax.data.color import Rgb
from pix2pix_jax.data.files.value_range import ValueRange, from_float, to_float
from pix2pix_jax.inference.windows import Moments, Window, Windowed
from pix2pix_jax.models import UNetGenerator
from pix2pix_jax.models.convolutions import layers
from pix2pix_jax.runtime import meshes


class WindowPrograms:
    """Runs a generator on windows.

    The layers from a depth on, the inner ones, may be left to `inner`, which runs them on the whole picture: at depth d
    a picture is 2**d times smaller.

    Attributes:
      multiple: number of which both sides of the generator's images must be multiples.
    """

    def __init__(
        self,
        generator: nn.Module,
        variables: Any,
        *,
        color: Rgb,
        values: tuple[ValueRange, ValueRange],
        norm_stats: str,
        dropout: bool,
        mesh: Mesh,
    ):
        """Holds what the programs need.

        Args:
          generator: a UNetGenerator or ResNetGenerator.
          variables: its params and batch_stats.
          color: a colour space of `data.color`.
          values: value ranges of inputs and targets.
          norm_stats: "running": averages of training. Else each picture's own, as pictures go alone.
          dropout: whether dropout is on.
          mesh: the devices that share the rows of a window.
        """
        self._generator, self._color, self._values, self._dropout = generator, color, values, dropout
        self._mesh, self._variables = mesh, jax.device_put(variables, meshes.replicated(mesh))
        self._running = norm_stats == "running" and generator.norm in ("batch", "none")  # others keep no averages
        self.is_unet = isinstance(generator, UNetGenerator)
        self.multiple = 2**generator.num_downs if self.is_unet else 4

    @property
    def depths(self) -> tuple[int, ...]:
        """Returns the depths at which inner layers may begin, those that leave most to them first.

        Depth 4 of a U-Net is 16 times smaller than the picture. A ResNet's blocks also run in tiles, depth 0.
        """
        if not self.is_unet:
            return 2, 0
        deepest = self._generator.num_downs - 1
        return tuple(range(min(4, deepest), deepest + 1))

    def context(self, depth: int) -> int:
        """Returns how many pixels beyond its kept part a window must show, if layers from `depth` on see the whole."""
        if self.is_unet:
            return 2 ** (depth + 1)
        return 8 if depth else 4 * (2 * self._generator.num_blocks + 3) + 8

    def inner_bytes(self, size: tuple[int, int], depth: int) -> int:
        """Estimates the memory that the inner layers of a picture of `size` (H, W) take, by what XLA gave them."""
        return (size[0] >> depth) * (size[1] >> depth) * self._inner_channels(depth) * 96

    def whole_bytes(self, size: tuple[int, int]) -> int:
        """Estimates the memory that a picture of `size` (H, W) takes in one pass, likewise."""
        return size[0] * size[1] * self._generator.features * 12

    def _inner_channels(self, depth: int) -> int:
        """Returns the channels of what the inner layers return."""
        return self._generator.width(depth - 1) if self.is_unet else self._generator.features * 4

    @functools.cache  # noqa: B019, it lives as long as its model
    def norms(self, depth: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Returns the names of the norms outside of the inner layers whose moments are the picture's: before, after."""
        if self._running:
            return (), ()
        side, names = max(self.multiple, 8), []
        image = jnp.zeros((1, side, side, self._input_channels))

        def trace():
            windowed = Windowed(Window.of(0, 0, (side, side)), side, {})

            def inside(x):
                names.append(tuple(windowed.measured))
                return jnp.zeros((1, *x.shape[1:3], self._inner_channels(depth)))

            self._apply(self._variables, image, jax.random.key(0), windowed, **_inner(depth, inside))
            names.append(tuple(windowed.measured))

        jax.eval_shape(trace)
        before = names[0] if depth else ()
        return before, names[-1][len(before) :]

    @property
    def _input_channels(self) -> int:
        return self._variables["params"]["down0" if self.is_unet else "stem"]["kernel"].shape[2]

    def run(
        self,
        stored: Any,
        window: Window,
        key: jax.Array,
        *,
        wanted: str = "output",
        depth: int = 0,
        known: dict[str, Moments] | None = None,
        inside: Any = None,
    ) -> Any:
        """Runs the generator on one window, and returns at once.

        Args:
          stored: (1, h, w, C), values as stored.
          window: where that is.
          key: draws dropout.
          wanted: "output" (1, h, w, D) as stored, "inner", what the inner layers take, or the name of a norm, whose
            `Moments` of the window's own part are wanted.
          depth: depth of the inner layers; 0 runs all layers in the window.
          known: moments of the whole picture by norm.
          inside: what the inner layers return, (1, h / 2**depth, w / 2**depth, C'); None before that is known.
        """
        stored = meshes.spread_rows(stored, self._mesh)
        return self._run(self._variables, stored, window, key, known or {}, inside, wanted=wanted, depth=depth)

    def inner(self, x: Any, window: Window, key: jax.Array, *, depth: int) -> jax.Array:
        """Runs the inner layers on (1, h, w, C'), which shows the whole picture and may be larger than it."""
        x = meshes.spread_rows(x, self._mesh)
        return self._run_inner(self._variables, x, window, key, depth=depth)

    @functools.cached_property
    def _run(self) -> Callable[..., Any]:
        @functools.partial(jax.jit, static_argnames=("wanted", "depth"))
        @layers.traced_for(meshes.platform(self._mesh))
        def run(variables, stored, window, key, known, inside, *, wanted, depth):
            windowed, taken = Windowed(window, stored.shape[1], known), {}

            def inner(x):
                taken["inner"] = x
                return jnp.zeros((1, *x.shape[1:3], self._inner_channels(depth)), x.dtype) if inside is None else inside

            def generate(x):
                return self._apply(variables, x, key, windowed, **_inner(depth, inner))

            output = self._color.translate(to_float(stored, self._values[0]), generate)
            # XLA leaves out what is not returned.
            return from_float(output, self._values[1]) if wanted == "output" else (taken | windowed.measured)[wanted]

        return run

    @functools.cached_property
    def _run_inner(self) -> Callable[..., jax.Array]:
        @functools.partial(jax.jit, static_argnames="depth")
        @layers.traced_for(meshes.platform(self._mesh))
        def run(variables, x, window, key, *, depth):
            windowed = Windowed(window, x.shape[1] << depth, {})
            return self._apply(variables, x, key, windowed, start=depth)

        return run

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


def _inner(depth: int, inside: Callable[[jax.Array], jax.Array]) -> dict[str, Any]:
    return {"inner": (depth, inside)} if depth else {}
