"""Trains: builds the parts of a run from its config, restores or initialises the state, and runs the loop."""

import collections
import functools
import itertools
import signal
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
from clu import parameter_overview
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2pix_jax import config as config_lib
from pix2pix_jax import inference, parallel, recipe, steps, streams
from pix2pix_jax import workdir as workdir_lib
from pix2pix_jax.checkpoints import Checkpoints, abstract
from pix2pix_jax.data import color, pipeline
from pix2pix_jax.data.pairs import Pairs
from pix2pix_jax.data.values import to_float
from pix2pix_jax.errors import UserError
from pix2pix_jax.logs import RunLog, say
from pix2pix_jax.state import TrainState

_LAG = 2  # steps between an update's dispatch and the reading of its losses, so that the device never waits for it


class Interrupted(Exception):
    """The user stopped the run, and its state is saved."""


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
      Interrupted: after SIGINT or SIGTERM, once a checkpoint is written.
    """
    workdir = epath.Path(workdir).expanduser()
    mesh = parallel.make_mesh(batch_size=config.batch_size, **config.mesh)
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
    train_step = _compile(config, parts, mesh, state, first)
    sampler = Sampler(config, mesh, state)
    with run_log(start=start, total=total) as log, StopRequest() as stop:
        losses = LossReader(log, config.log_every_steps, since=checkpoints.losses(start) if start else [])

        def save() -> None:
            losses.drain()
            _check_finite(state, step)
            checkpoints.save(step, state, config, losses.window)

        for step, batch in zip(step_range, stop.until(itertools.chain([first], batches)), strict=False):
            state, metrics = train_step(state, batch)
            losses.push(step, metrics)
            if step == total:
                break
            if _due(step, config.sample_every_steps):
                log.samples(step, sampler(state))
            if _due(step, config.checkpoint_every_steps):
                save()
        save()
        log.samples(step, sampler(state))
        log.flush()
        checkpoints.wait()
    if stop.error:
        raise stop.error
    if step < total:
        raise Interrupted(f"stopped after step {step} of {total}, which is saved; the same command goes on from there")
    return state


def _due(step: int, period: int) -> bool:
    return period > 0 and step % period == 0


def _compile(config: ConfigDict, parts: steps.Parts, mesh: Mesh, state: TrainState, batch: pipeline.Batch):
    """The compiled train step; the state that goes in is overwritten by the one that comes out."""
    begin = time.monotonic()
    step = recipe.build_train_step(config, parts, constrain=functools.partial(parallel.constrain_images, mesh=mesh))
    compiled = jax.jit(step, donate_argnums=0, out_shardings=parallel.replicated(mesh)).lower(state, batch).compile()
    say(f"compiled the train step in {time.monotonic() - begin:.0f} s")
    return compiled


def _check_same_run(config: ConfigDict, workdir: epath.Path, checkpoints: Checkpoints) -> None:
    step = checkpoints.latest_step()
    changed = [] if step is None else config_lib.differences(checkpoints.config(step), config)
    if changed:
        raise UserError(f"{workdir}: holds a run of another config ({'; '.join(changed)}); use another --workdir")


def _restore_or_create(config: ConfigDict, parts: steps.Parts, checkpoints: Checkpoints, mesh: Mesh) -> TrainState:
    create = functools.partial(recipe.create_state, config, parts)
    step = checkpoints.latest_step()
    if step is None:
        # Dozens of random draws, each run once, take a CPU longer to optimise than to compute.
        on_cpu = mesh.devices.flat[0].platform == "cpu"
        options = {"xla_backend_optimization_level": 1} if on_cpu else None
        return jax.jit(create, out_shardings=parallel.replicated(mesh), compiler_options=options)()
    return checkpoints.restore(step, abstract(jax.eval_shape(create), parallel.replicated(mesh)))


def _check_finite(state: TrainState, step: int) -> None:
    if not jax.jit(steps.all_finite)(state):
        raise _diverged(step)


def _diverged(step: int) -> UserError:
    return UserError(
        f"step {step}: the losses are no longer finite numbers; try a lower --config.learning_rate or another "
        "--config.seed (in another --workdir), or float32 if --config.compute_dtype is bfloat16; the checkpoints "
        "before this step are kept"
    )


class LossReader:
    """Reads the losses of past steps without making the device wait, and stops the run when they are not finite.

    What is logged is the mean over the steps since the last log line, `window`. It is part of the checkpoint, so that a
    stopped run logs what it would have logged.
    """

    def __init__(self, log: RunLog, every: int, since: list[dict[str, float]]):
        self._log, self._every, self.window = log, every, list(since)
        self._pending: collections.deque[tuple[int, steps.Metrics]] = collections.deque()

    def push(self, step: int, metrics: steps.Metrics) -> None:
        for value in metrics.values():
            value.copy_to_host_async()
        self._pending.append((step, metrics))
        if len(self._pending) > _LAG:
            self._read()

    def drain(self) -> None:
        while self._pending:
            self._read()

    def _read(self) -> None:
        step, metrics = self._pending.popleft()
        losses = {name: float(value) for name, value in metrics.items()}
        if not np.isfinite(list(losses.values())).all():
            raise _diverged(step)
        self._log.progress(step, losses)
        if self._every:
            self.window.append(losses)
        if _due(step, self._every):
            self._log.scalars(step, {name: float(np.mean([past[name] for past in self.window])) for name in losses})
            self.window.clear()


class Sampler:
    """Translates the same few held-out examples whenever it is called."""

    def __init__(self, config: ConfigDict, mesh: Mesh, state: TrainState):
        pairs = _held_out(config)
        batch = pipeline.load_batch(pairs, np.arange(min(config.num_samples, len(pairs))))
        values = streams.stream_values(config)
        images = {name: np.asarray(to_float(x, values[name])) for name, x in batch.items()}
        self._ids = parallel.replicate(inference.picture_ids(images["input"]), mesh)
        self._images = parallel.replicate(images, mesh)
        self._shown = color.grey(self._images["input"]) if config.color_space == "lab" else self._images["input"]
        self._seed = parallel.replicate(np.int32(config.seed), mesh)
        translate = jax.jit(inference.make_translate(config), out_shardings=parallel.replicated(mesh))
        self._config = config
        self._translate = translate.lower(*self._arguments(state)).compile()

    def _arguments(self, state: TrainState):
        return recipe.inference_variables(self._config, state), self._images["input"], self._ids, self._seed

    def __call__(self, state: TrainState) -> dict[str, jax.Array]:
        """Columns input, output and target: float32 (N, H, W, C) in [-1, 1]."""
        output = self._translate(*self._arguments(state))
        return {"input": self._shown, "output": output, "target": self._images["target"]}


def _held_out(config: ConfigDict) -> Pairs:
    """`val`, or `test` where there is none, or else the training split."""
    for split in ("val", "test"):
        if (pairs := streams.open_pairs_if_any(config, split)) is not None:
            return pairs
    return streams.open_pairs(config, "train")


class StopRequest:
    """What may end a run early with its state saved: the first SIGINT or SIGTERM (a second one stops at once), or data
    that cannot be read; `error` is the latter's."""

    def __init__(self):
        self.error: UserError | None = None
        self._requested = False
        self._previous = {}

    def until(self, batches: Iterator[pipeline.Batch]) -> Iterator[pipeline.Batch]:
        """Yields batches until the run is to stop."""
        try:
            for batch in batches:
                yield batch
                if self._requested:
                    return
        except UserError as error:
            self.error = error

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[number] = signal.signal(number, self._request)
            except ValueError:  # not in the main thread, as when a notebook or a server trains
                continue
        return self

    def __exit__(self, *exception) -> None:
        self._restore()

    def _request(self, number, frame) -> None:
        self._requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


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
    if config.gan_loss == "wgan-gp" and config.discriminator.norm == "batch":
        say("note: wgan-gp penalises single examples, which batch norm mixes; discriminator.norm=instance suits it")
    say(f"starting from step {int(state.step)}; compiling, which takes up to a minute")
