"""Trains: builds the parts of a run from its config, restores or initialises the state, and runs the loop."""

import contextlib
import dataclasses
import functools
import itertools
import time
from typing import Any

import jax
from clu import parameter_overview
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2pix_jax import config as config_lib
from pix2pix_jax import (
    interruption,
    monitor,
    parallel,
    profiling,
    recipe,
    rollback,
    roofline,
    samples,
    selection,
    steps,
    storage,
    streams,
    symptoms,
)
from pix2pix_jax import workdir as workdir_lib
from pix2pix_jax.checkpoints import NO_PROGRESS, Checkpoints, abstract
from pix2pix_jax.data import pipeline
from pix2pix_jax.data.pairs import Pairs
from pix2pix_jax.errors import UserError
from pix2pix_jax.logs import RunLog, say
from pix2pix_jax.state import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What stays the same from the first step of a run to its last."""

    config: ConfigDict
    workdir: epath.Path
    mesh: Mesh
    pairs: Pairs
    parts: steps.Parts
    checkpoints: Checkpoints
    select: selection.Selection | None

    @property
    def total(self) -> int:
        """The last step."""
        return recipe.total_steps(self.config, num_examples=len(self.pairs))


def train(config: ConfigDict, workdir: epath.PathLike) -> TrainState:
    """Trains to the config's last step, from where the workdir's latest checkpoint stands.

    Args:
      config: a checked config (`config.load`).
      workdir: of the run, created if need be.

    Returns:
      The final state.

    Raises:
      UserError: the data, the workdir or the config cannot be used.
      monitor.Diverged: a UserError too; the losses are no longer finite, and rollbacks are not asked for or did not
        help. The checkpoint before stays as it was.
      interruption.Interrupted: after SIGINT or SIGTERM, once a checkpoint is written.
      parallel.PeerLost: another process of the run died.
    """
    workdir = storage.folder(workdir)
    mesh = parallel.make_mesh(batch_size=config.batch_size, accumulate_steps=config.accumulate_steps, **config.mesh)
    config, pairs = streams.open_training(config)
    profiling.check_reached(config.profile_steps, total=recipe.total_steps(config, num_examples=len(pairs)))
    parts = recipe.build_parts(config, num_examples=len(pairs))
    select = selection.open_selection(config, mesh)
    found = pairs.source.describe()  # before anything is written: it reads the headers of all files
    workdir_lib.make(workdir)
    try:
        with Checkpoints(workdir, keep=config.keep_checkpoints, period=config.checkpoint_every_steps) as checkpoints:
            run = Run(
                config=config,
                workdir=workdir,
                mesh=mesh,
                pairs=pairs,
                parts=parts,
                checkpoints=checkpoints,
                select=select,
            )
            try:
                return _train(run, found)
            except workdir_lib.NotWritten as error:
                raise UserError(f"{error}; {checkpoints.last_good()}") from error
    except jax.errors.JaxRuntimeError as error:
        raise explained(error) from error


def explained(error: jax.errors.JaxRuntimeError) -> Exception:
    """What a failure of the devices means to a user; the error itself where that is not known."""
    if "RESOURCE_EXHAUSTED" in str(error):
        gist = " ".join(str(error).split())[:150]
        return UserError(
            f"a device ran out of memory ({gist}); use a smaller --config.batch_size, --config.accumulate_steps=2 or "
            "more, --config.remat=True, --config.compute_dtype=bfloat16, or --config.data_residency=host"
        )
    return parallel.peer_lost(error) if jax.process_count() > 1 else error


def _train(run: Run, found: str) -> TrainState:
    """Resumes or begins; where numbers stop being finite, goes back as often as the config allows."""
    config, checkpoints = run.config, run.checkpoints
    state, progress = _resume(run) or (_create(run, rollbacks=0), NO_PROGRESS)
    workdir_lib.write_config(config, run.workdir)
    residency = pipeline.choose_residency(run.pairs, config.data_residency, shards=run.mesh.shape["data"])
    _say_summary(run, found, residency, state)
    if int(state.step) >= run.total:
        say(f"{run.workdir}: already at step {int(state.step)} of {run.total}; raise --config.num_epochs to train on")
        return state
    while True:
        stop = interruption.StopRequest()
        try:
            return _attempt(run, state, progress, residency=residency, stop=stop)
        except monitor.Diverged as diverged:
            rollbacks = rollback.roll_back(
                config, checkpoints, rollbacks=progress["rollbacks"], diverged=diverged, stopped_by=stop.by
            )
        # Outside the handler, which holds on to the memory of what has failed.
        state, progress = _resume(run) or (_create(run, rollbacks=rollbacks), NO_PROGRESS)
        progress = {**progress, "rollbacks": rollbacks}


def _attempt(
    run: Run, state: TrainState, progress: dict[str, Any], *, residency: str, stop: interruption.StopRequest
) -> TrainState:
    """Trains on from `state` to the end, unless numbers stop being finite."""
    config = rollback.redrawn(run.config, progress["rollbacks"])
    start = int(state.step)
    batches = streams.build_batches(config, run.pairs, run.mesh, start=start, residency=residency)
    with contextlib.closing(batches):  # what it holds of the data is released before a next attempt
        first = next(batches)
        begin = time.monotonic()
        traced = trace_train_step(config, run.parts, mesh=run.mesh, state=state, batch=first)
        train_step = traced.lower().compile()
        say(f"compiled the train step in {time.monotonic() - begin:.0f} s")
        speed = _make_speed(run, start, traced)
        sampler = samples.Sampler(run.config, run.mesh, state)
        select = run.select
        if select:
            select.begin(progress["best"])
        with _open_log(run, start) as log, stop, profiling.Profiler(config.profile_steps, run.workdir) as profiler:
            watch = symptoms.Watch(config, num_examples=len(run.pairs))
            speed.skip(*profiler.disturbed)
            losses = monitor.LossReader(log, config.log_every_steps, since=progress["losses"], watch=watch, speed=speed)

            def save() -> None:
                losses.drain()
                speed.skip(step + 1)
                log.commit()
                monitor.check_finite(state, step)
                best = select.best if select else None
                run.checkpoints.save(step, state, run.config, {**progress, "losses": losses.window, "best": best})

            def evaluate() -> bool:
                """Logs the numbers of this step; whether it is the best so far."""
                losses.drain()
                speed.skip(step + 1)
                log.scalars(step, select(step, state))
                return select.best is not None and select.best["step"] == step

            remaining = stop.until(itertools.chain([first], batches), start=start)
            for step, batch in zip(range(start + 1, run.total + 1), remaining, strict=False):
                state, metrics = profiler(step, train_step, state, batch)
                losses.push(step, metrics)
                run.checkpoints.check()
                if step == run.total:
                    break
                if monitor.due(step, config.sample_every_steps):
                    log.samples(step, sampler(state))
                    speed.skip(step + 1)
                is_best = select and monitor.due(step, config.eval_every_steps) and evaluate()
                if is_best or monitor.due(step, config.checkpoint_every_steps):
                    save()
            log.samples(step, sampler(state))
            if select and step == run.total:
                evaluate()
            save()
            for line in speed.summary():
                say(line)
            run.checkpoints.wait()
    if stop.error:
        raise stop.error
    if step < run.total:
        raise interruption.Interrupted(
            f"stopped after step {step} of {run.total}, which is saved; the same command goes on from there", by=stop.by
        )
    return state


def _open_log(run: Run, start: int) -> RunLog:
    return RunLog(
        run.workdir, start=start, total=run.total, num_examples=len(run.pairs), batch_size=run.config.batch_size
    )


def _make_speed(run: Run, start: int, traced: jax.stages.Traced) -> roofline.Speed:
    config = run.config
    return roofline.Speed(
        start=start,
        batch_size=config.batch_size,
        flops=roofline.count_flops(traced.jaxpr),
        ceiling=roofline.measure_ceiling(run.mesh, config.compute_dtype),
        dtype=config.compute_dtype,
    )


def trace_train_step(
    config: ConfigDict, parts: steps.Parts, *, mesh: Mesh, state: TrainState, batch: pipeline.Batch
) -> jax.stages.Traced:
    """The train step as `train` runs it: the state that goes in is overwritten by the one that comes out.

    Args:
      config: of the run.
      parts: of the run.
      mesh: of the run; its devices need not be there.
      state: placed on the mesh; of it and of the batch, shapes, dtypes and shardings are enough.
      batch: at load size.
    """
    place = functools.partial(parallel.place_gradients, mesh=mesh, shard_optimizer=config.shard_optimizer)
    parts = dataclasses.replace(parts, g_optimizer=place(parts.g_optimizer), d_optimizer=place(parts.d_optimizer))
    step = recipe.build_train_step(config, parts, constrain=functools.partial(parallel.constrain_images, mesh=mesh))
    out = (jax.tree.map(lambda x: x.sharding, state), parallel.replicated(mesh))
    return jax.jit(step, donate_argnums=0, out_shardings=out).trace(state, batch)


def _resume(run: Run) -> tuple[TrainState, dict[str, Any]] | None:
    """(state, progress) of the newest checkpoint that is whole; None if there is none."""

    def read(step: int) -> tuple[TrainState, dict[str, Any]]:
        changed = config_lib.differences(run.checkpoints.config(step), run.config)
        if changed:
            raise UserError(
                f"{run.workdir}: holds a run of another config ({'; '.join(changed)}); use another --workdir"
            )
        return run.checkpoints.restore(step, _abstract_state(run)), run.checkpoints.progress(step)

    return run.checkpoints.newest(read)


def _create(run: Run, *, rollbacks: int) -> TrainState:
    # Dozens of random draws, each run once, take a CPU longer to optimise than to compute.
    on_cpu = run.mesh.devices.flat[0].platform == "cpu"
    options = {"xla_backend_optimization_level": 1} if on_cpu else None
    create = functools.partial(recipe.create_state, rollback.redrawn(run.config, rollbacks), run.parts)
    shardings = jax.tree.map(lambda x: x.sharding, _abstract_state(run))
    return jax.jit(create, out_shardings=shardings, compiler_options=options)()


def _abstract_state(run: Run) -> TrainState:
    """The shapes, dtypes and places of the run's state."""
    state = jax.eval_shape(functools.partial(recipe.create_state, run.config, run.parts))
    return abstract(state, parallel.state_shardings(state, run.mesh, shard_optimizer=run.config.shard_optimizer))


def _remedy_for_idle(config: ConfigDict, mesh: Mesh) -> str:
    """What lets the mesh take more of the devices."""
    count, rows = jax.device_count(), mesh.shape["rows"]
    if mesh.shape["data"] == count // rows:
        return f"config.mesh.rows that divides {count}"
    if config.mesh.data != -1:
        return "config.mesh.data=-1"
    return f"a config.batch_size that is a multiple of {count // rows * config.accumulate_steps}"


def _say_summary(run: Run, found: str, residency: str, state: TrainState) -> None:
    if not parallel.is_main_process():
        return
    config, pairs, mesh = run.config, run.pairs, run.mesh
    for name in ("generator", "discriminator"):
        say(name + "\n" + parameter_overview.get_parameter_overview(getattr(state, name).params, include_stats=False))
    height, width = config.image_size
    source, target = ("A", "B") if config.direction == "AtoB" else ("B", "A")
    place = {"device": "in device memory", "sharded": "spread over device memory", "host": "read as needed"}[residency]
    say(f"data: {found}")
    say(
        f"data: {config.dataset}, {len(pairs)} training pairs, {source} -> {target} at {height}x{width} "
        f"({config.preprocess}, loaded at {pairs.size[0]}x{pairs.size[1]}), {place} "
        f"({pipeline.num_bytes(pairs) / 1e6:.0f} MB)"
    )
    device = mesh.devices.flat[0]
    say(
        f"devices: {mesh.size} of {jax.device_count()} x {device.device_kind}, mesh data={mesh.shape['data']} "
        f"rows={mesh.shape['rows']}, {jax.process_count()} process(es), compute {config.compute_dtype}"
    )
    if mesh.size < jax.device_count():
        idle = jax.device_count() - mesh.size
        say(f"note: {idle} devices stay idle; {_remedy_for_idle(config, mesh)} would use more of them")
    if config.gan_loss == "wgan-gp" and config.discriminator.norm == "batch":
        say("note: wgan-gp penalises single examples, which batch norm mixes; discriminator.norm=instance suits it")
    say(f"starting from step {int(state.step)}; compiling, which takes up to a minute")
