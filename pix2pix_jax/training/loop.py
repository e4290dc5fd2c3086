"""Runs the compiled train step to the run's last step, and calls the callbacks beside it."""

import contextlib
import functools
import itertools
from collections.abc import Iterator

import jax

from pix2pix_jax.configuration import build_data, build_model
from pix2pix_jax.data import pipeline
from pix2pix_jax.gan.state import TrainState
from pix2pix_jax.training import health, interruption, metric_logger, profiling, samples, saving, throughput, validation
from pix2pix_jax.training.callbacks import Callback
from pix2pix_jax.training.compiling import StepCompiler
from pix2pix_jax.training.run import ResumePoint, Run
from pix2pix_jax.workdir.logs import RunLog


def train_loop(
    run: Run, begin: ResumePoint, *, compiler: StepCompiler, residency: str, stop: interruption.StopRequest
) -> TrainState:
    """Trains from `begin` to the run's last step, and returns the final state.

    `compiler` compiles the train step; `residency` is where the data is kept, as `pipeline.choose_residency` returns
    it; `stop` may end the run early.

    Raises:
      metric_logger.DivergedError: losses or parameters are no longer finite.
      interruption.Interrupted: a signal ended the run early, and its state is saved.
      UserError: the data of a step cannot be read; where the run is one process, the state before it is saved.
    """
    config = run.config
    speed = throughput.Throughput(
        start=begin.step,
        batch_size=config.batch_size,
        flops=compiler.count_flops,
        ceiling=functools.partial(throughput.measure_ceiling, run.mesh, config.compute_dtype),
        dtype=config.compute_dtype,
    )
    batches = build_data.build_batches(
        config,
        run.pairs,
        run.mesh,
        start=begin.step,
        residency=residency,
        while_loading=lambda step: speed.skip(step + 1),  # the loop counts the steps that are done
    )
    with contextlib.closing(batches):  # frees the memory that the data takes
        train_step, first, sampler = _get_ready(run, batches, compiler)
        options = {"total": run.total, "num_examples": len(run.pairs), "batch_size": config.batch_size}
        log = RunLog(run.workdir, start=begin.step, config=config, **options)
        with log, stop, profiling.Profiler(config.profile_steps, run.workdir) as profiler:
            callbacks = _build_callbacks(run, begin, log=log, speed=speed, sampler=sampler, profiler=profiler)
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
    run: Run, batches: Iterator[pipeline.Batch], compiler: StepCompiler
) -> tuple[jax.stages.Compiled, pipeline.Batch, samples.Sampler]:
    """Reads the first batch and the examples of samples while the train step is compiled, and waits for that."""
    compiler.begin()
    first = next(batches)
    sampler = samples.Sampler(run.config, run.mesh, run.data)
    return compiler.compiled(), first, sampler


def _build_callbacks(
    run: Run,
    begin: ResumePoint,
    *,
    log: RunLog,
    speed: throughput.Throughput,
    sampler: samples.Sampler,
    profiler: profiling.Profiler,
) -> list[Callback]:
    """Builds what the loop calls beside its steps, in the order of the calls."""
    config, validator, progress = run.config, run.validator, begin.progress
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
    callbacks = [profiler, losses, samples.Samples(sampler=sampler, start=begin.step, **shared)]
    shared |= {"losses": losses}
    if validator:
        validator.best = progress["best"]  # if by another metric, until there is an evaluation by this one
        callbacks.append(validation.Validation(validator=validator, **shared))
    save = saving.Saving(checkpoints=run.checkpoints, progress=progress, validator=validator, **shared)
    return [*callbacks, speed, save]  # a checkpoint is written beside what follows
