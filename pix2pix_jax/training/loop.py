"""The training loop: from a state to the run's last step, and what is done beside the steps."""

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2pix_jax.config import build_data, build_model
from pix2pix_jax.data import pipeline
from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.gan import steps
from pix2pix_jax.gan.state import TrainState
from pix2pix_jax.models.convolutions import layers
from pix2pix_jax.runtime import console, meshes
from pix2pix_jax.training import (
    health,
    interruption,
    metric_logger,
    profiling,
    samples,
    saving,
    throughput,
    validation,
)
from pix2pix_jax.training.callbacks import Callback
from pix2pix_jax.workdir.checkpoints import Checkpoints, abstract
from pix2pix_jax.workdir.logs import RunLog


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What stays the same from the first step of a run to its last."""

    config: ConfigDict
    workdir: epath.Path
    mesh: Mesh
    pairs: PairedDataset
    parts: steps.Parts
    checkpoints: Checkpoints
    validator: validation.Validator | None

    @property
    def platform(self) -> str:
        return meshes.platform(self.mesh)

    @property
    def total(self) -> int:
        """The last step."""
        return build_model.total_steps(self.config, num_examples=len(self.pairs))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """Where a run stands: a state, its step, and what the checkpoint of that step says of the way there."""

    state: TrainState
    step: int
    progress: dict[str, Any]


def train_loop(run: Run, begin: ResumePoint, *, residency: str, stop: interruption.StopRequest) -> TrainState:
    """Trains from `begin` to the end.

    Raises:
      monitor.DivergedError: numbers stop being finite.
      interruption.Interrupted: `stop` was asked for, and the state is saved.
      UserError: data cannot be read; the state before them is saved if the process is alone.
    """
    config = run.config
    batches = build_data.build_batches(config, run.pairs, run.mesh, start=begin.step, residency=residency)
    with contextlib.closing(batches):  # what it holds of the data is released before a next attempt
        train_step, speed, first, sampler = _get_ready(run, begin, batches)
        sizes = {"total": run.total, "num_examples": len(run.pairs), "batch_size": config.batch_size}
        log = RunLog(run.workdir, start=begin.step, **sizes)
        with log, stop, profiling.Profiler(config.profile_steps, run.workdir) as profiler:
            callbacks = _build_callbacks(run, begin.progress, log=log, speed=speed, sampler=sampler, profiler=profiler)
            remaining = stop.until(itertools.chain([first], batches), start=begin.step)
            state = begin.state
            for step, batch in zip(range(begin.step + 1, run.total + 1), remaining, strict=False):
                for callback in callbacks:
                    callback.before_step(step, state)
                with jax.profiler.StepTraceAnnotation("train", step_num=step):  # a microsecond where nothing is traced
                    state, metrics = train_step(state, batch)
                for callback in callbacks:
                    callback.on_step(step, state, metrics)
            for callback in callbacks:
                callback.on_end(step, state)
            run.checkpoints.wait()
    if stop.error:
        raise stop.error
    if step < run.total:
        raise interruption.Interrupted(
            f"stopped after step {step} of {run.total}, which is saved; the same command goes on from there", by=stop.by
        )
    return state


def _get_ready(
    run: Run, begin: ResumePoint, batches: Iterator[pipeline.Batch]
) -> tuple[jax.stages.Compiled, throughput.Throughput, pipeline.Batch, samples.Sampler]:
    """(the train step, its speed, the first batch, what draws samples): all else while the step is compiled."""
    config = run.config
    shapes = {
        "mesh": run.mesh,
        "state": abstract(begin.state, jax.tree.map(lambda x: x.sharding, begin.state)),
        "batch": pipeline.abstract_batch(run.pairs, run.mesh, batch_size=config.batch_size),
    }
    trace = functools.partial(trace_train_step, config, run.parts, **shapes)

    def compile_step() -> tuple[jax.stages.Traced, jax.stages.Compiled]:
        began = time.monotonic()
        traced = trace()
        compiled = traced.lower().compile()
        console.log(f"compiled the train step in {time.monotonic() - began:.0f} s")
        return traced, compiled

    def flops() -> int:
        # Those of the definition: a CPU's forms take fewer. A GPU's take 2 % more at most, not worth another trace.
        plain = trace(platform="default") if run.platform == "cpu" else traced
        return throughput.count_flops(plain.jaxpr)

    with futures.ThreadPoolExecutor(1) as thread:
        compiling = thread.submit(compile_step)
        first = next(batches)
        sampler = samples.Sampler(config, run.mesh, begin.state)
        traced, train_step = compiling.result()
    speed = throughput.Throughput(
        start=begin.step,
        batch_size=config.batch_size,
        flops=flops,
        ceiling=throughput.measure_ceiling(run.mesh, config.compute_dtype),  # now, while nothing else is under way
        dtype=config.compute_dtype,
    )
    return train_step, speed, first, sampler


def _build_callbacks(
    run: Run,
    progress: dict[str, Any],
    *,
    log: RunLog,
    speed: throughput.Throughput,
    sampler: samples.Sampler,
    profiler: profiling.Profiler,
) -> list[Callback]:
    """Builds what the loop calls beside its steps, in the order of the calls."""
    config, total, validator = run.config, run.total, run.validator
    speed.skip(*profiler.disturbed)
    watch = health.HealthChecks(config, num_examples=len(run.pairs))
    losses = metric_logger.MetricLogger(
        log, config.log_every_steps, since=progress["losses"], total=total, watch=watch, speed=speed
    )
    shared = {"config": config, "total": total, "log": log, "speed": speed}
    callbacks = [profiler, losses, samples.Samples(sampler=sampler, **shared)]
    shared["losses"] = losses
    if validator:
        validator.best = progress["best"]  # if by another metric, until there is an evaluation by this one
        callbacks.append(validation.Validation(validator=validator, **shared))
    save = saving.Saving(checkpoints=run.checkpoints, progress=progress, validator=validator, **shared)
    return [*callbacks, save, speed]


def trace_train_step(
    config: ConfigDict,
    parts: steps.Parts,
    *,
    mesh: Mesh,
    state: TrainState,
    batch: pipeline.Batch,
    platform: str | None = None,
) -> jax.stages.Traced:
    """The train step as the loop runs it: the state that goes in is overwritten by the one that comes out.

    Args:
      config: of the run.
      parts: of the run.
      mesh: of the run; its devices need not be there.
      state: placed on the mesh; of it and of the batch, shapes, dtypes and shardings are enough.
      batch: at load size.
      platform: in whose form convolutions are computed; by default that of the mesh.
    """
    place = functools.partial(meshes.place_gradients, mesh=mesh, shard_optimizer=config.shard_optimizer)
    parts = dataclasses.replace(parts, g_optimizer=place(parts.g_optimizer), d_optimizer=place(parts.d_optimizer))
    step = build_model.build_train_step(config, parts, constrain=functools.partial(meshes.constrain_images, mesh=mesh))
    step = layers.traced_for(platform or meshes.platform(mesh))(step)
    out = (jax.tree.map(lambda x: x.sharding, state), meshes.replicated(mesh))
    return jax.jit(step, donate_argnums=0, out_shardings=out).trace(state, batch)
