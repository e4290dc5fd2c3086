"""Traces and compiles the train step in a thread, beside what else the start of a run takes."""

import dataclasses
import functools
import time
from collections.abc import Callable
from concurrent import futures
from typing import TypeVar

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2pix_jax.configuration import build_model
from pix2pix_jax.data import pipeline
from pix2pix_jax.gan.state import Parts, TrainState
from pix2pix_jax.models.convolutions import layers
from pix2pix_jax.runtime import console, meshes
from pix2pix_jax.training import throughput
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
        batch = pipeline.abstract_batch(run.pairs, run.mesh, batch_size=run.config.batch_size)
        self._trace = functools.partial(
            trace_train_step, run.config, run.parts, mesh=run.mesh, state=state, batch=batch
        )
        self._platform = run.platform
        self._compiling: futures.Future | None = None

    def begin(self) -> None:
        """Begins to compile, if that has not begun: once nothing is left that would refuse the run."""
        if not self._compiling:
            self._compiling = in_thread(self._compile)

    def _compile(self) -> tuple[jax.stages.Traced, jax.stages.Compiled]:
        began = time.monotonic()
        traced = self._trace()
        compiled = traced.lower().compile()
        console.log(f"compiled the train step in {time.monotonic() - began:.0f} s")
        return traced, compiled

    def compiled(self) -> jax.stages.Compiled:
        """Waits for the compiled train step, and returns it. Raises what tracing or compiling it has raised."""
        return self._compiling.result()[1]

    def count_flops(self) -> int:
        """Counts the FLOPs of the step's definition: a CPU's convolutions take fewer, a GPU's at most 2 % more."""
        traced = self._trace(platform="default") if self._platform == "cpu" else self._compiling.result()[0]
        return throughput.count_flops(traced.jaxpr)


def trace_train_step(
    config: ConfigDict,
    parts: Parts,
    *,
    mesh: Mesh,
    state: TrainState,
    batch: pipeline.Batch,
    platform: str | None = None,
) -> jax.stages.Traced:
    """Traces the train step of the loop. Its new state takes the memory of the old one.

    Args:
      config: a checked config.
      parts: its networks, optimisers and objective.
      mesh: the mesh to train on; its devices need not exist.
      state: the state, or its shapes, dtypes and shardings.
      batch: a batch at load size, or its shapes, dtypes and shardings.
      platform: "cpu", "gpu" or "tpu", for which convolutions are written; by default the mesh's.
    """
    place = functools.partial(meshes.place_gradients, mesh=mesh, shard_optimizer=config.shard_optimizer)
    parts = dataclasses.replace(parts, g_optimizer=place(parts.g_optimizer), d_optimizer=place(parts.d_optimizer))
    rows, whole = (functools.partial(f, mesh=mesh) for f in (meshes.constrain_images, meshes.constrain_whole_images))
    step = build_model.build_train_step(config, parts, constrain=rows, constrain_whole=whole)
    step = layers.traced_for(platform or meshes.platform(mesh))(step)
    out = (jax.tree.map(lambda x: x.sharding, state), meshes.replicated(mesh))
    return jax.jit(step, donate_argnums=0, out_shardings=out).trace(state, batch)
