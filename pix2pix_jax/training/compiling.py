"""Traces and compiles the train step in a thread, beside what else the start of a run takes."""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2pix_jax.configuration import build_model
from pix2pix_jax.data import pipeline
from pix2pix_jax.gan.state import Parts, TrainState
from pix2pix_jax.models.convolutions import layers
from pix2pix_jax.runtime import console, meshes
from pix2pix_jax.training import kept_trace, throughput
from pix2pix_jax.training.run import Run

T = TypeVar("T")


def in_thread(function: Callable[[], T]) -> "futures.Future[T]":
    """Calls `function` in a thread of its own, which ends with it."""
    thread = futures.ThreadPoolExecutor(1)
    future = thread.submit(function)
    thread.shutdown(wait=False)
    return future


class StepCompiler:
    """Compiles the train step in a thread of its own.

    It needs only the state's shapes, so the state is initialised or restored meanwhile, and the data are read.
    """

    def __init__(self, run: Run, state: TrainState):
        """Takes the shapes, dtypes and shardings of the state; `begin` begins."""
        self._run, self._state = run, state
        self._batch = pipeline.abstract_batch(run.pairs, run.mesh, batch_size=run.config.batch_size)
        self._compiling: futures.Future | None = None

    def begin(self) -> None:
        """Begins to compile, if that has not begun: once nothing is left that would refuse the run."""
        if not self._compiling:
            self._compiling = in_thread(self._compile)

    def _compile(self) -> tuple[jax.stages.Traced, jax.stages.Compiled]:
        began = time.monotonic()
        file = kept_trace.place(self._run, self._state, self._batch)
        traced = self._trace(file=file)
        compiled = traced.lower().compile()
        console.log(f"compiled the train step in {time.monotonic() - began:.0f} s")
        return traced, compiled

    def compiled(self) -> jax.stages.Compiled:
        """Waits for the compiled train step, and returns it. Raises what tracing or compiling it has raised."""
        return self._compiling.result()[1]

    def count_flops(self) -> int:
        """Counts the FLOPs of the step's definition: a CPU's convolutions take fewer, a GPU's at most 2 % more."""
        on_cpu = self._run.platform == "cpu"
        traced = self._trace(platform="default") if on_cpu else self._compiling.result()[0]
        return throughput.count_flops(traced.jaxpr)

    def _trace(self, **options: Any) -> jax.stages.Traced:
        arguments = {"mesh": self._run.mesh, "state": self._state, "batch": self._batch}
        return trace_train_step(self._run.config, self._run.parts, **arguments, **options)


def trace_train_step(
    config: ConfigDict,
    parts: Parts,
    *,
    mesh: Mesh,
    state: TrainState,
    batch: pipeline.Batch,
    platform: str | None = None,
    file: pathlib.Path | None = None,
) -> jax.stages.Traced:
    """Traces the train step of the loop. Its new state takes the memory of the old one.

    Args:
      config: a checked config.
      parts: its networks, optimisers and objective.
      mesh: the mesh to train on; its devices need not exist.
      state: the state, or its shapes, dtypes and shardings.
      batch: a batch at load size, or its shapes, dtypes and shardings.
      platform: "cpu", "gpu" or "tpu", for which convolutions are written; by default the mesh's.
      file: keeps the trace for later starts, and has it from an earlier one if any; see `kept_trace`.
    """
    place = functools.partial(meshes.place_gradients, mesh=mesh, shard_optimizer=config.shard_optimizer)
    parts = dataclasses.replace(parts, g_optimizer=place(parts.g_optimizer), d_optimizer=place(parts.d_optimizer))
    rows, whole = (functools.partial(f, mesh=mesh) for f in (meshes.constrain_images, meshes.constrain_whole_images))
    step = build_model.build_train_step(config, parts, constrain=rows, constrain_whole=whole)
    step = layers.traced_for(platform or meshes.platform(mesh))(step)
    out = (jax.tree.map(lambda x: x.sharding, state), meshes.replicated(mesh))
    jit = functools.partial(jax.jit, donate_argnums=0, out_shardings=out)
    if file:
        step = kept_trace.through(file, jit(step), state, batch)
    return jit(step).trace(state, batch)
