"""Measures training: steps and images a second, and the share of the devices' peak FLOP/s (MFU).

The FLOPs of a step are counted in its program: those of convolutions and matrix products, which are all but a few per
cent of its arithmetic. The peak is measured with a large matrix product.
"""

import functools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pix2pix_jax.gan.state import TrainState
from pix2pix_jax.runtime import console, meshes
from pix2pix_jax.training.callbacks import Callback

_SIDES = {"cpu": 1536}  # of the square matrices; one product takes two cores 60 ms
_SIDE_ELSEWHERE = 8192
_MEASURING = 0.2  # seconds; long enough for a GPU to raise its clock
_WARM_UP = 3  # steps of a run that are not counted
_SETTLED = 10.0  # seconds of counted steps after which their mean is printed
# No mean of fewer steps is printed: the last losses of a run are read all at once, which tells nothing of their times.
_FEWEST, _SHORTEST = 10, 1.0  # steps, seconds
_MOST_SAVED = 16 / 9  # of the products of a convolution's definition, by its fastest form (`convolutions/winograd.py`)


def count_flops(jaxpr: core.Jaxpr | core.ClosedJaxpr) -> int:
    """Counts the FLOPs of the convolutions and matrix products in the `jaxpr` of a traced program, over all devices.

    Multiplications with the padding of an image, and with the zeros between pixels that make a convolution a transposed
    one, do not count. Loops count as often as they run; XLA's `cost_analysis` counts their bodies once. Of the branches
    of a condition the last counts: here they are one convolution in a form for each platform (`models.convolutions`),
    of which the last is the plain one. A step of the paper's model takes 83.4 GFLOP a pair of 256 px.
    """
    jaxpr = jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr
    return sum(_flops(equation) for equation in jaxpr.eqns)


def _flops(equation: core.JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _flops_of_product(equation)
    if name == "conv_general_dilated":
        return _flops_of_convolution(equation)
    if name == "cond":
        return count_flops(params["branches"][-1])  # the default of `lax.platform_dependent`
    inner = [part for part in jax.tree.leaves(params) if isinstance(part, core.Jaxpr | core.ClosedJaxpr)]
    return sum(map(count_flops, inner)) * (params["length"] if name == "scan" else 1)


def _flops_of_product(equation: core.JaxprEqn) -> int:
    (summed, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in summed)


def _flops_of_convolution(equation: core.JaxprEqn) -> int:
    params, numbers = equation.params, equation.params["dimension_numbers"]
    image, kernel = (operand.aval.shape for operand in equation.invars)
    out = equation.outvars[0].aval.shape
    taps = 1
    for axis, (before, _) in enumerate(params["padding"], 2):
        stride, *dilations = (params[name][axis - 2] for name in ("window_strides", "lhs_dilation", "rhs_dilation"))
        windows = np.arange(out[numbers.out_spec[axis]]) * stride - before
        places = windows[:, None] + np.arange(kernel[numbers.rhs_spec[axis]])[None] * dilations[1]
        inside = (places >= 0) & (places <= (image[numbers.lhs_spec[axis]] - 1) * dilations[0])
        taps *= int(np.sum(inside & (places % dilations[0] == 0)))
    return 2 * taps * out[numbers.out_spec[0]] * out[numbers.out_spec[1]] * kernel[numbers.rhs_spec[1]]


@functools.cache
def measure_ceiling(mesh: Mesh, dtype: str) -> float | None:
    """Returns the FLOP/s of large matrix products of `dtype` on all devices of a mesh; None where they fail.

    The precision is JAX's default, as in the networks. Takes less than a second, mostly to compile. A process measures
    its own devices, whatever others do, and takes those of others to be as fast.
    """
    side = _SIDES.get(meshes.platform(mesh), _SIDE_ELSEWHERE)
    mine = Mesh(np.asarray(mesh.local_devices), "devices")
    rows, whole = NamedSharding(mine, PartitionSpec("devices")), NamedSharding(mine, PartitionSpec())

    def waves(height: int) -> jax.Array:  # not zeros, which draw less power than images
        return jnp.sin(1.1 * jnp.arange(height)[:, None] + 1.7 * jnp.arange(side)[None]).astype(dtype)

    try:
        left, right = jax.jit(lambda: (waves(side * mine.size), waves(side)), out_shardings=(rows, whole))()
        multiply = jax.jit(jnp.matmul, out_shardings=rows).lower(left, right).compile()
        seconds = _time(lambda: multiply(left, right))
    except jax.errors.JaxRuntimeError:  # no reason to end a run: a broken device fails its first step too
        return None
    return 2 * side**3 * mesh.size / seconds


def _time(run, at_once: int = 2) -> float:
    """Returns the least seconds that `run` takes; `at_once` are dispatched together, so that a device never waits."""
    jax.block_until_ready(run())
    best, end = math.inf, time.perf_counter() + _MEASURING
    while time.perf_counter() < end:
        begin = time.perf_counter()
        jax.block_until_ready([run() for _ in range(at_once)])
        best = min(best, (time.perf_counter() - begin) / at_once)
    return best


class Throughput(Callback):
    """Averages the time of training steps, without samples, evaluations and checkpoints between them.

    A step ends when its losses are read, which the loop does anyway: measuring makes no device wait.
    """

    def __init__(
        self,
        *,
        start: int,
        batch_size: int,
        flops: Callable[[], int],
        ceiling: Callable[[], float | None],
        dtype: str,
    ):
        """Starts to count.

        Args:
          start: the steps done when the run begins.
          batch_size: images a step.
          flops: counts the FLOPs of a step; called when they are printed, as it may take a second.
          ceiling: measures what the devices can do (`measure_ceiling`); called likewise when it is printed.
          dtype: the dtype that the networks compute in.
        """
        self._batch_size, self._flops, self._ceiling, self._dtype = batch_size, functools.cache(flops), ceiling, dtype
        self._skipped = set(range(start + 1, start + 1 + _WARM_UP))
        self._steps, self._seconds, self._before, self._told = 0, 0.0, 0.0, False

    def skip(self, *steps: int) -> None:
        """Leaves out these steps, which had to wait for loading, samples, an evaluation, a checkpoint or a trace."""
        self._skipped.update(steps)

    def finished(self, step: int) -> None:
        """Counts a step that has ended; called for each in turn."""
        now = time.perf_counter()
        if step not in self._skipped:
            self._steps += 1
            self._seconds += now - self._before
        self._before = now

    def settled(self, under_way: Mapping[int, Any]) -> list[str]:
        """Returns `summary` once, when enough steps are counted; else nothing.

        Waits first for the losses of the steps `under_way`, which are not counted then: nothing else may use the
        devices while their ceiling is measured.
        """
        if self._told or self._seconds < _SETTLED:
            return []
        self._told = True
        jax.block_until_ready(list(under_way.values()))
        self.skip(*under_way)
        return self.summary()

    def on_end(self, step: int, state: TrainState) -> None:
        jax.block_until_ready(state)
        for line in self.summary():
            console.log(line)

    def summary(self) -> list[str]:
        """Returns a line about the steps that are counted so far; none where they are too few. No step is under way."""
        if self._steps < _FEWEST or self._seconds < _SHORTEST:
            return []
        rate = self._steps / self._seconds
        reached = self._flops() * rate
        line = f"speed: {rate:.3g} steps/s, {rate * self._batch_size:.3g} images/s, {_with_unit(reached)}"
        ceiling = self._ceiling()
        if ceiling and reached < _MOST_SAVED * ceiling:  # else other programs had the processor while it was measured
            share, most = 100 * reached / ceiling, _with_unit(ceiling)
            line += f", {share:.0f} % of the {most} that {self._dtype} matrix products reach here"
        return [line + " (without samples, evaluations and checkpoints)"]


def _with_unit(flops: float) -> str:
    """Formats a rate, as 68 GFLOP/s or 1.2 TFLOP/s."""
    factor, unit = next((pair for pair in ((1e15, "P"), (1e12, "T")) if flops >= pair[0]), (1e9, "G"))
    return f"{flops / factor:.3g} {unit}FLOP/s"
