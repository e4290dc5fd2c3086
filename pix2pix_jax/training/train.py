"""Trains: builds the model and the data from a config, restores or initialises the state, and runs the loop."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from clu import parameter_overview
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.configuration import build_data, build_model
from pix2pix_jax.data import pipeline
from pix2pix_jax.data.files.high_bit_depth import height_by_width
from pix2pix_jax.data.sources import fingerprint
from pix2pix_jax.errors import UserError
from pix2pix_jax.gan.state import TrainState, state_shardings
from pix2pix_jax.interop import initial_weights
from pix2pix_jax.io import storage
from pix2pix_jax.models.convolutions import layers
from pix2pix_jax.runtime import console, distributed, meshes
from pix2pix_jax.training import interruption, profiling, validation
from pix2pix_jax.training.compiling import StepCompiler
from pix2pix_jax.training.loop import train_loop
from pix2pix_jax.training.run import ResumePoint, Run
from pix2pix_jax.workdir import folder as workdir_lib
from pix2pix_jax.workdir import lock, trackers
from pix2pix_jax.workdir.checkpoints import Checkpoints, abstract
from pix2pix_jax.workdir.progress import NO_PROGRESS


def train(config: ConfigDict, workdir: epath.PathLike, *, data: Any = None) -> TrainState:
    """Trains to the config's last step, from the workdir's newest checkpoint if any, and returns the final state.

    Args:
      config: a checked config (`config.load`).
      workdir: the folder of the run, local or gs://; created if need be.
      data: the pairs of dataset `given`; see `data.sources.given.open_given`.

    Raises:
      UserError: the data, the workdir or the config cannot be used.
      metric_logger.DivergedError: a UserError; losses or parameters are no longer finite. Earlier checkpoints stay.
      interruption.Interrupted: after SIGINT or SIGTERM, once a checkpoint is written.
      distributed.PeerLostError: another process of the run died.
    """
    workdir = storage.folder(workdir)
    lock.check(workdir)
    mesh = meshes.make_mesh(
        batch_size=config.batch_size,
        accumulate_steps=config.accumulate_steps,
        data=config.mesh.data,
        rows=config.mesh.rows,
    )
    config, pairs = build_data.open_training(config, data)
    for note in build_data.fitted_files(config, pairs):
        console.log(note)
    trackers.check(config.log_to)
    profiling.check_reached(config.profile_steps, total=build_model.total_steps(config, num_examples=len(pairs)))
    parts = build_model.build_parts(config, num_examples=len(pairs))
    validator = validation.open_validator(config, mesh, data)
    data_summary = pairs.source.describe()  # before anything is written: it reads the headers of all files
    try:
        with (
            lock.hold(workdir),
            Checkpoints(workdir, keep=config.keep_checkpoints, period=config.checkpoint_every_steps) as checkpoints,
        ):
            run = Run(
                config=config,
                workdir=workdir,
                mesh=mesh,
                pairs=pairs,
                parts=parts,
                checkpoints=checkpoints,
                validator=validator,
                data=data,
            )
            try:
                return _train(run, data_summary)
            except workdir_lib.NotWrittenError as error:
                raise UserError(f"{error}; {checkpoints.last_good()}") from error
    except jax.errors.JaxRuntimeError as error:
        raise explained(error) from error


def explained(error: jax.errors.JaxRuntimeError) -> Exception:
    """Returns the error to show a user for a failure of the devices; the same one where its cause is not known."""
    if "RESOURCE_EXHAUSTED" in str(error):
        reason = " ".join(str(error).split())[:150]
        return UserError(
            f"a device ran out of memory ({reason}); use a smaller --config.batch_size, --config.accumulate_steps=2 or "
            "more, --config.remat=True, --config.compute_dtype=bfloat16, or --config.data_residency=host"
        )
    return distributed.PeerLostError(error) if jax.process_count() > 1 else error


def _train(run: Run, data_summary: str) -> TrainState:
    """Restores or initialises the state, and trains to the last step."""
    config = run.config

    @layers.traced_for(run.platform)
    def create() -> TrainState:
        return build_model.create_state(config, run.parts)

    shapes = jax.eval_shape(create)  # the function that is compiled later, so that JAX traces it once
    shardings = state_shardings(shapes, run.mesh, shard_optimizer=config.shard_optimizer)
    shapes = abstract(shapes, shardings)
    compiler = StepCompiler(run, shapes)
    begin = run.checkpoints.newest(functools.partial(_restore, run, shapes, compiler))
    if begin:
        best = begin.progress["best"]
        if best and best["step"] not in run.checkpoints.steps():  # it gave way to a newer one, which is damaged
            begin.progress["best"] = run.checkpoints.best()
    else:
        begin = _create(run, create, shardings, compiler)
    workdir_lib.write_config(config, run.workdir)
    residency = pipeline.choose_residency(run.pairs, config.data_residency, shards=run.mesh.shape["data"])
    _log_summary(run, data_summary, residency, begin)
    if begin.step >= run.total:
        reached = f"already at step {begin.step} of {run.total}"
        console.log(f"{run.workdir}: {reached}; raise --config.num_epochs to train on")
        return begin.state
    return train_loop(run, begin, compiler=compiler, residency=residency, stop=interruption.StopRequest())


def _create(run: Run, create: Callable[[], TrainState], shardings: TrainState, compiler: StepCompiler) -> ResumePoint:
    """Initialises the state of step 0."""
    data = fingerprint.take(run.pairs.source)
    initial = initial_weights.read(run.config) if run.config.init_from else None
    compiler.begin()
    # The random draws run once, and a CPU takes longer to optimise them than to compute them.
    options = {"xla_backend_optimization_level": 1} if run.platform == "cpu" else None
    state = jax.jit(create, out_shardings=shardings, compiler_options=options)()
    if initial:
        state = initial_weights.start_from(run.config, state, initial, place=lambda x: meshes.replicate(x, run.mesh))
    return ResumePoint(state=state, step=0, progress={**NO_PROGRESS, "data": data})


def _restore(run: Run, like: TrainState, compiler: StepCompiler, step: int) -> ResumePoint:
    """Restores a checkpoint. Raises UserError if it is of another run or of other data, or damaged."""
    if changed := config_lib.differences(run.checkpoints.config(step), run.config):
        raise UserError(f"{run.workdir}: holds a run of another config ({'; '.join(changed)}); use another --workdir")
    progress = run.checkpoints.progress(step)
    if progress.get("rollbacks"):
        raise UserError(
            f"{run.workdir}: holds a run that version 0.1 rolled back (on_divergence=rollback), whose random draws no "
            "longer exist; use another --workdir"
        )
    data = _same_data(run, progress["data"])
    if step < run.total:
        compiler.begin()
    return ResumePoint(state=run.checkpoints.restore(step, like), step=step, progress={**progress, "data": data})


def _same_data(run: Run, before: Any) -> Any:
    """Returns the fingerprint of the training data. Raises UserError if it is no longer that of the run's, `before`."""
    now = fingerprint.take(run.pairs.source)
    if changed := before and fingerprint.changes(before, now):
        if not run.config.allow_changed_data:
            raise UserError(
                f"{run.workdir}: its run began with other training data: {changed}; put them back, use another "
                "--workdir, or go on with these: --config.allow_changed_data=True"
            )
        console.log(f"note: going on with other training data: {changed}")
    return now


def _remedy_for_idle(config: ConfigDict, mesh: Mesh) -> str:
    """Returns the change of the config by which the mesh takes more of the devices."""
    count, rows = jax.device_count(), mesh.shape["rows"]
    if mesh.shape["data"] == count // rows:
        return f"config.mesh.rows that divides {count}"
    if config.mesh.data != -1:
        return "config.mesh.data=-1"
    return f"a config.batch_size that is a multiple of {count // rows * config.accumulate_steps}"


def _log_summary(run: Run, data_summary: str, residency: str, begin: ResumePoint) -> None:
    config, pairs, mesh = run.config, run.pairs, run.mesh
    for name in ("generator", "discriminator"):
        params = getattr(begin.state, name).params
        console.log(name + "\n" + parameter_overview.get_parameter_overview(params, include_stats=False))
    place = {"device": "in device memory", "sharded": "spread over device memory", "host": "read as needed"}[residency]
    console.log(f"data: {data_summary}")
    console.log(
        f"data: {config.dataset}, {len(pairs)} training pairs, {config.direction.replace('to', ' -> ')} at "
        f"{height_by_width(config.image_size)}, {config.preprocess}, loaded at {height_by_width(pairs.size)}, {place} "
        f"({pairs.num_bytes / 1e6:.0f} MB)"
    )
    console.log(
        f"devices: {mesh.size} of {jax.device_count()} x {mesh.devices.flat[0].device_kind}, mesh "
        f"data={mesh.shape['data']} rows={mesh.shape['rows']}, {jax.process_count()} process(es), compute "
        f"{config.compute_dtype}"
    )
    if idle := jax.device_count() - mesh.size:
        console.log(f"note: {idle} devices stay idle; {_remedy_for_idle(config, mesh)} would use more of them")
    if config.gan_loss == "wgan-gp" and config.discriminator.norm == "batch":
        console.log("note: wgan-gp penalises single examples, which batch norm mixes; use discriminator.norm=instance")
    console.log(f"starting from step {begin.step}; compiling, which takes up to a minute")
