"""Compiles the train step, runs it to the run's last step, and calls the callbacks beside it."""

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

from pix2pix_jax.configuration import build_data, build_model
from pix2pix_jax.data import pipeline
from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.gan.state import Parts, TrainState
from pix2pix_jax.models.convolutions import layers
from pix2pix_jax.runtime import console, meshes
from pix2pix_jax.training import health, interruption, metric_logger, profiling, samples, saving, throughput, validation
from pix2pix_jax.training.callbacks import Callback
from pix2pix_jax.workdir.checkpoints import Checkpoints, abstract
from pix2pix_jax.workdir.logs import RunLog


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Holds the parts of a run that stay the same from its first step to its last."""

    config: ConfigDict
    workdir: epath.Path
    mesh: Mesh
    pairs: PairedDataset
    parts: Parts
    checkpoints: Checkpoints
    validator: validation.Validator | None
    data: Any = None  # the pairs of dataset `given`

    @property
    def platform(self) -> str:
        return meshes.platform(self.mesh)

    @property
    def total(self) -> int:
        """Returns the number of the last step."""
        return build_model.total_steps(self.config, num_examples=len(self.pairs))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """Holds the state after `step` updates, where training starts; for `progress` see `workdir/progress.py`."""

    state: TrainState
    step: int
    progress: dict[str, Any]


def train_loop(run: Run, begin: ResumePoint, *, residency: str, stop: interruption.StopRequest) -> TrainState:
    """Trains from `begin` to the run's last step, and returns the final state.

    `residency` is where the data is kept, as `pipeline.choose_residency` returns it; `stop` may end the run early.

    Raises:
      metric_logger.DivergedError: losses or parameters are no longer finite.
      interruption.Interrupted: a signal ended the run early, and its state is saved.
      UserError: the data of a step cannot be read; where the run is one process, the state before it is saved.
    """
    config = run.config
    batches = build_data.build_batches(config, run.pairs, run.mesh, start=begin.step, residency=residency)
    with contextlib.closing(batches):  # frees the memory that the data takes
        train_step, speed, first, sampler = _get_ready(run, begin, batches)
        options = {"total": run.total, "num_examples": len(run.pairs), "batch_size": config.batch_size}
        log = RunLog(run.workdir, start=begin.step, config=config, **options)
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
    """Compiles the train step, and meanwhile reads the first batch and builds the sampler."""
    config = run.config
    state = abstract(begin.state, jax.tree.map(lambda x: x.sharding, begin.state))
    batch = pipeline.abstract_batch(run.pairs, run.mesh, batch_size=config.batch_size)
    trace = functools.partial(trace_train_step, config, run.parts, mesh=run.mesh, state=state, batch=batch)

    def compile_step() -> tuple[jax.stages.Traced, jax.stages.Compiled]:
        began = time.monotonic()
        traced = trace()
        compiled = traced.lower().compile()
        console.log(f"compiled the train step in {time.monotonic() - began:.0f} s")
        return traced, compiled

    def flops() -> int:
        # The FLOPs of the definition: a CPU's convolutions take fewer, a GPU's at most 2 % more, not worth a trace.
        plain = trace(platform="default") if run.platform == "cpu" else traced
        return throughput.count_flops(plain.jaxpr)

    with futures.ThreadPoolExecutor(1) as thread:
        compiling = thread.submit(compile_step)
        first = next(batches)
        sampler = samples.Sampler(config, run.mesh, begin.state, run.data)
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
    config, validator = run.config, run.validator
    speed.skip(*profiler.disturbed)
    checks = health.HealthChecks(config, num_examples=len(run.pairs))
    shared = {"total": run.total, "log": log, "speed": speed}
    losses = metric_logger.MetricLogger(
        every=config.log_every_steps,
        window=list(progress["losses"]),
        health=checks,
        schedule=build_model.build_schedule(config, num_examples=len(run.pairs)),
        **shared,
    )
    shared |= {"config": config}
    callbacks = [profiler, losses, samples.Samples(sampler=sampler, **shared)]
    shared |= {"losses": losses}
    if validator:
        validator.best = progress["best"]  # if by another metric, until there is an evaluation by this one
        callbacks.append(validation.Validation(validator=validator, **shared))
    save = saving.Saving(checkpoints=run.checkpoints, progress=progress, validator=validator, **shared)
    return [*callbacks, save, speed]


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
    step = build_model.build_train_step(config, parts, constrain=functools.partial(meshes.constrain_images, mesh=mesh))
    step = layers.traced_for(platform or meshes.platform(mesh))(step)
    out = (jax.tree.map(lambda x: x.sharding, state), meshes.replicated(mesh))
    return jax.jit(step, donate_argnums=0, out_shardings=out).trace(state, batch)
