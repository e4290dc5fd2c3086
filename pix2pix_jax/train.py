"""Trains: builds the parts of a run from its config, restores or initialises the state, and runs the loop."""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterator

import jax
from clu import parameter_overview
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2pix_jax import config as config_lib
from pix2pix_jax import interruption, monitor, parallel, recipe, samples, steps, streams
from pix2pix_jax import workdir as workdir_lib
from pix2pix_jax.checkpoints import Checkpoints, abstract
from pix2pix_jax.data import pipeline
from pix2pix_jax.data.pairs import Pairs
from pix2pix_jax.errors import UserError
from pix2pix_jax.logs import RunLog, say
from pix2pix_jax.state import TrainState


def train(config: ConfigDict, workdir: epath.PathLike) -> TrainState:
    """Trains to the config's last step, from where the workdir's latest checkpoint stands.

    Args:
      config: a checked config (`config.load`).
      workdir: of the run, created if need be.

    Returns:
      The final state.

    Raises:
      UserError: the data, the workdir or the config cannot be used, or the losses are no longer finite; the latest
        checkpoint stays as it was.
      interruption.Interrupted: after SIGINT or SIGTERM, once a checkpoint is written.
    """
    workdir = epath.Path(workdir).expanduser()
    mesh = parallel.make_mesh(batch_size=config.batch_size, accumulate_steps=config.accumulate_steps, **config.mesh)
    config, pairs = streams.open_training(config)
    parts = recipe.build_parts(config, num_examples=len(pairs))
    found = pairs.source.describe()  # before anything is written: it reads the headers of all files
    workdir_lib.make(workdir)
    checkpoints = Checkpoints(workdir, keep=config.keep_checkpoints)
    try:
        _check_same_run(config, workdir, checkpoints)
        workdir_lib.write_config(config, workdir)
        state = _restore_or_create(config, parts, checkpoints, mesh)
        residency = pipeline.choose_residency(pairs, config.data_residency, shards=mesh.shape["data"])
        _say_summary(config, pairs, found, residency, state, mesh)
        start, total = int(state.step), recipe.total_steps(config, num_examples=len(pairs))
        if start >= total:
            say(f"{workdir}: already at step {start} of {total}; raise --config.num_epochs to train on")
            return state
        batches = streams.build_batches(config, pairs, mesh, start=start, residency=residency)
        run_log = functools.partial(RunLog, workdir, num_examples=len(pairs), batch_size=config.batch_size)
        return _run(
            config,
            range(start + 1, total + 1),
            mesh=mesh,
            parts=parts,
            batches=batches,
            checkpoints=checkpoints,
            run_log=run_log,
            state=state,
        )
    finally:
        checkpoints.close()


def _run(
    config: ConfigDict,
    step_range: range,
    *,
    mesh: Mesh,
    parts: steps.Parts,
    batches: Iterator[pipeline.Batch],
    checkpoints: Checkpoints,
    run_log: Callable[..., RunLog],
    state: TrainState,
) -> TrainState:
    """The loop: updates of the steps in `step_range`, with logs, samples and checkpoints."""
    start, total = step_range.start - 1, step_range.stop - 1
    first = next(batches)
    begin = time.monotonic()
    train_step = lower_train_step(config, parts, mesh=mesh, state=state, batch=first).compile()
    say(f"compiled the train step in {time.monotonic() - begin:.0f} s")
    sampler = samples.Sampler(config, mesh, state)
    with run_log(start=start, total=total) as log, interruption.StopRequest() as stop:
        losses = monitor.LossReader(log, config.log_every_steps, since=checkpoints.losses(start) if start else [])

        def save() -> None:
            losses.drain()
            monitor.check_finite(state, step)
            checkpoints.save(step, state, config, losses.window)

        for step, batch in zip(step_range, stop.until(itertools.chain([first], batches)), strict=False):
            state, metrics = train_step(state, batch)
            losses.push(step, metrics)
            if step == total:
                break
            if monitor.due(step, config.sample_every_steps):
                log.samples(step, sampler(state))
            if monitor.due(step, config.checkpoint_every_steps):
                save()
        save()
        log.samples(step, sampler(state))
        log.flush()
        checkpoints.wait()
    if stop.error:
        raise stop.error
    if step < total:
        raise interruption.Interrupted(
            f"stopped after step {step} of {total}, which is saved; the same command goes on from there"
        )
    return state


def lower_train_step(
    config: ConfigDict, parts: steps.Parts, *, mesh: Mesh, state: TrainState, batch: pipeline.Batch
) -> jax.stages.Lowered:
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
    return jax.jit(step, donate_argnums=0, out_shardings=out).lower(state, batch)


def _check_same_run(config: ConfigDict, workdir: epath.Path, checkpoints: Checkpoints) -> None:
    step = checkpoints.latest_step()
    changed = [] if step is None else config_lib.differences(checkpoints.config(step), config)
    if changed:
        raise UserError(f"{workdir}: holds a run of another config ({'; '.join(changed)}); use another --workdir")


def _restore_or_create(config: ConfigDict, parts: steps.Parts, checkpoints: Checkpoints, mesh: Mesh) -> TrainState:
    create = functools.partial(recipe.create_state, config, parts)
    like = jax.eval_shape(create)
    shardings = parallel.state_shardings(like, mesh, shard_optimizer=config.shard_optimizer)
    step = checkpoints.latest_step()
    if step is None:
        # Dozens of random draws, each run once, take a CPU longer to optimise than to compute.
        on_cpu = mesh.devices.flat[0].platform == "cpu"
        options = {"xla_backend_optimization_level": 1} if on_cpu else None
        return jax.jit(create, out_shardings=shardings, compiler_options=options)()
    return checkpoints.restore(step, abstract(like, shardings))


def _remedy_for_idle(config: ConfigDict, mesh: Mesh) -> str:
    """What lets the mesh take more of the devices."""
    count, rows = jax.device_count(), mesh.shape["rows"]
    if mesh.shape["data"] == count // rows:
        return f"config.mesh.rows that divides {count}"
    if config.mesh.data != -1:
        return "config.mesh.data=-1"
    return f"a config.batch_size that is a multiple of {count // rows * config.accumulate_steps}"


def _say_summary(config: ConfigDict, pairs: Pairs, found: str, residency: str, state: TrainState, mesh: Mesh) -> None:
    if not parallel.is_main_process():
        return
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
