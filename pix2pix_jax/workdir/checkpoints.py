"""Checkpoints of the train state and the config it belongs to; the only module that imports orbax."""

import contextlib
import copy
import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from pix2pix_jax import config as config_lib
from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.gan.state import TrainState
from pix2pix_jax.io import storage
from pix2pix_jax.metrics.names import LOWER_IS_BETTER
from pix2pix_jax.runtime import console
from pix2pix_jax.workdir.checksums import checksums
from pix2pix_jax.workdir.progress import NO_PROGRESS, is_progress
from pix2pix_jax.workdir.retention import Retention


class DamagedError(UserError):
    """A checkpoint is damaged, or is not what was saved."""


class Checkpoints:
    """The checkpoints in `WORKDIR/checkpoints/STEP/`; each holds all that is needed to load it.

    Saving is asynchronous: `save` returns once the state is copied to the host. A checkpoint gets its name only when it
    is complete, so a killed run leaves the previous ones. Each holds checksums of all its parts, so that changed files
    are never restored.

    All processes of a run call the same methods at the same time.
    """

    def __init__(self, workdir: epath.PathLike, *, keep: int = 3, period: int = 0, read_only: bool = False):
        """Opens the folder.

        Args:
          workdir: the folder of the run.
          keep: how many of the latest checkpoints to keep; see `retention.kept`.
          period: steps between regular checkpoints; 0: there are none.
          read_only: whether nothing may be created or deleted.
        """
        self._folder = storage.absolute(storage.folder(workdir)) / "checkpoints"
        if not _is_utf8(self._folder):  # tensorstore takes no other paths
            raise UserError(
                f"{printable(self._folder)}: not a name in UTF-8; rename the folder, or use another --workdir"
            )
        self._read_only = read_only
        self._saving: int | None = None  # the step whose save may still fail
        self._retention = Retention(keep=keep, period=period)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._retention,
            create=not read_only,
            read_only=read_only,
            cleanup_tmp_directories=not read_only,  # of a save that was killed or ran out of disk
        )
        try:
            if read_only and not self._folder.is_dir():
                raise UserError(f"{self._folder}: no checkpoint; train first, or check --workdir")
            self._manager = ocp.CheckpointManager(self._folder, options=options)
        except Exception as error:
            error = storage.as_os_error(error, self._folder)
            if not isinstance(error, OSError):
                raise
            raise UserError(f"{self._folder}: cannot be opened ({error.strerror}); check --workdir") from error

    def save(self, step: int, state: TrainState, config: ConfigDict, progress: Mapping[str, Any] = NO_PROGRESS) -> None:
        """Starts to save; every process calls it. Does nothing if there is a checkpoint of this step.

        Args:
          step: the step of the state.
          state: the train state.
          config: the config of the run.
          progress: a value for each key of `progress.NO_PROGRESS`.

        Raises:
          UserError: the folder cannot be written.
        """
        if step in self._manager.all_steps():
            return
        self.wait()  # orbax would too, but its error is of the save before
        self._saving = step
        self._retention.best = (progress["best"] or {}).get("step")
        # A copy, as a thread writes it while the loop may change the original.
        texts = {"config": config_lib.to_dict(config), "progress": copy.deepcopy(dict(progress))}
        sums = checksums(state) | {name: _digest(value) for name, value in texts.items()}
        arguments = ocp.args.Composite(
            state=ocp.args.PyTreeSave(state),
            checksums=ocp.args.JsonSave(sums),
            **{name: ocp.args.JsonSave(value) for name, value in texts.items()},
        )
        try:
            self._manager.save(step, args=arguments)
        except Exception as error:
            raise self._not_written(error) from error

    def wait(self) -> None:
        """Waits until everything is on disk. Raises UserError if it could not be written."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._not_written(error) from error
        self._saving = None

    def check(self) -> None:
        """Raises UserError if the last save has failed; does not wait for one under way."""
        if self._saving is not None and not self._manager.is_saving_in_progress():
            self.wait()

    def close(self) -> None:
        """Waits for the save under way. Raises nothing: `wait` does for a save that failed."""
        with contextlib.suppress(Exception):  # or it would replace the error that ends the run
            self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, exception_type, exception, traceback) -> None:
        # After a failure of the devices, it would wait for processes that have died.
        if not isinstance(exception, jax.errors.JaxRuntimeError):
            self.close()

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def last_good(self) -> str:
        """Describes the latest checkpoint for an error message, once the save under way is complete or has failed."""
        with contextlib.suppress(Exception):
            self._manager.wait_until_finished()
        with contextlib.suppress(Exception):
            self._manager.reload()
        step = self.latest_step()
        if step is None:
            return "there is no earlier checkpoint"
        return f"the last good checkpoint is step {step}, which is kept, and the same command goes on from it"

    def steps(self) -> list[int]:
        """Returns the steps of all checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def load(self, step: str | int, read: Callable[[int], Any]) -> Any:
        """Returns `read(step)` of a checkpoint: by its number, the newest whole one ("latest") or the best ("best").

        Raises:
          UserError: there is no such checkpoint, or it is damaged.
        """
        steps = self.steps()
        if not steps:
            raise UserError(f"{self._folder}: no checkpoint; train first, or check --workdir")
        if step == "latest":
            return self.newest(read)
        if step == "best":
            return self._load_best(read)
        if str(step) not in map(str, steps):
            there = ", ".join(map(str, steps))
            raise UserError(
                f"--step={step}: no such checkpoint in {self._folder}; there are {there}, 'latest' and 'best'"
            )
        try:
            return read(int(step))
        except DamagedError as error:
            raise UserError(f"{error}; use another --step") from error

    def _load_best(self, read: Callable[[int], Any]) -> Any:
        damaged: set[int] = set()
        while best := self.best(without=damaged):
            try:
                return read(best["step"])
            except DamagedError as error:
                console.log(f"warning: {error}; taking the best of the others")
                damaged.add(best["step"])
        raise UserError(
            f"--step=best: no whole checkpoint in {self._folder} was evaluated as the run went on "
            "(config.eval_every_steps); use 'latest' or a number"
        )

    def best(self, *, without: Collection[int] = ()) -> dict[str, Any] | None:
        """Returns the best evaluation of the checkpoints that exist, the first of equal ones; None if there is none.

        Where `best_metric` changed in the run, only evaluations by the latest metric count.

        Args:
          without: steps of checkpoints to leave out.
        """
        found = [own for step in self.steps() if step not in without and (own := self._evaluation(step))]
        if not found:
            return None
        metric = found[-1]["metric"]
        sign = 1 if metric in LOWER_IS_BETTER else -1
        return min((own for own in found if own["metric"] == metric), key=lambda own: sign * own["value"])

    def _evaluation(self, step: int) -> dict[str, Any] | None:
        """Returns {"metric", "step", "value"} of a checkpoint; None if it was not evaluated, or is damaged."""
        try:
            progress = self.progress(step)
        except DamagedError as error:
            console.log(f"warning: {error}")
            return None
        best = progress["best"]  # until version 0.2 only the best had its own
        return progress["evaluation"] or (best if best and best["step"] == step else None)

    def newest(self, read: Callable[[int], Any]) -> Any:
        """Returns `read(step)` of the newest checkpoint that is whole; None if there is none at all.

        Warns of each newer one, which is damaged, and moves it to `checkpoints/damaged-STEP` unless the folder is
        read-only.

        Raises:
          UserError: all checkpoints are damaged. Nothing is moved then, nor where `read` raises something else.
        """
        damaged: dict[int, DamagedError] = {}
        for step in reversed(self.steps()):
            try:
                answer = read(step)
            except DamagedError as error:
                damaged[step] = error
                continue
            for worse, error in damaged.items():
                console.log(f"warning: {error}; going back to step {step}")
                self._set_aside(worse)
            return answer
        if damaged:
            raise UserError(
                f"{damaged[max(damaged)]}, and no other checkpoint is whole; use a copy of that folder, or move "
                f"{self._folder} away to begin anew"
            )
        return None

    def _set_aside(self, step: int) -> None:
        if self._read_only:
            return
        if jax.process_index() == 0:
            target = self._folder / f"damaged-{step}"
            if target.exists():
                target.rmtree()
            (self._folder / str(step)).rename(target)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"checkpoint {step} set aside")
        self._manager.reload()

    def config(self, step: int) -> ConfigDict:
        """Reads the config that the checkpoint was trained with. Raises DamagedError."""
        values = self._read_json(step, "config")
        config = config_lib.from_dict(values)
        if unknown := config_lib.unknown_fields(values):
            names = printable(", ".join(unknown))[:200]
            console.log(f"note: the checkpoint's config has fields of another version, which are left out: {names}")
        return config

    def progress(self, step: int) -> dict[str, Any]:
        """Reads the `progress` that was saved. Raises DamagedError."""
        progress = self._read_json(step, "progress")
        if not is_progress(progress):
            raise self._damaged(step, "its progress is not one of a run")
        return {**NO_PROGRESS, **progress}

    def restore(self, step: int, like: Any) -> Any:
        """Restores a state, or some of it, in the shapes, dtypes and shardings of `like`.

        Args:
          step: the step of the checkpoint.
          like: a TrainState, or nested dicts with some of its parts, of ShapeDtypeStructs; the rest is not read.

        Raises:
          DamagedError: it cannot be read, or is not what was saved.
        """
        arguments = ocp.args.PyTreeRestore(
            item=like,
            restore_args=ocp.checkpoint_utils.construct_restore_args(like),
            partial_restore=True,
        )
        saved = self._checksums(step, self._read(step, checksums=ocp.args.JsonRestore()))
        restored = self._read(step, state=arguments)["state"]
        found = checksums(restored)
        wrong = [name for name in found if saved.get(name) != found[name]]
        if not _everywhere(not wrong):
            raise self._damaged(step, f"{wrong[0] if wrong else 'an array'} is not what was saved")
        return restored

    def _read_json(self, step: int, name: str) -> Any:
        read = self._read(step, **{name: ocp.args.JsonRestore(), "checksums": ocp.args.JsonRestore()})
        if self._checksums(step, read).get(name) != _digest(read[name]):
            raise self._damaged(step, f"{name} is not what was saved")
        return read[name]

    def _checksums(self, step: int, read: Any) -> dict[str, Any]:
        if not isinstance(read["checksums"], dict):
            raise self._damaged(step, "its checksums are no object")
        return read["checksums"]

    def _read(self, step: int, **items: Any) -> Any:
        read, failure = None, None
        try:
            read = self._manager.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:  # orbax and tensorstore raise many types for damaged files
            if _may_be_whole(error):
                raise UserError(f"{self._folder / str(step)}: cannot be read ({_reason(error)}); try again") from error
            failure = error
        if not _everywhere(failure is None):
            raise self._damaged(step, _reason(failure)) from failure
        return read

    def _damaged(self, step: int, reason: str) -> DamagedError:
        return DamagedError(f"{self._folder / str(step)}: damaged, cannot be restored ({reason})")

    def _not_written(self, error: Exception) -> Exception:
        if isinstance(error, jax.errors.JaxRuntimeError):
            return error
        return UserError(
            f"{self._folder}: the checkpoint of step {self._saving} could not be written ({_reason(error)}); make room "
            f"or choose another --workdir; {self.last_good()}"
        )


def _is_utf8(path: epath.Path) -> bool:
    try:
        return bool(os.fspath(path).encode())
    except UnicodeEncodeError:  # bytes that Python keeps as lone surrogates
        return False


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _everywhere(fine: bool) -> bool:
    """Returns whether `fine` is true in all processes, so that they go on alike."""
    return fine if jax.process_count() == 1 else bool(multihost_utils.process_allgather(np.int32(fine)).all())


def _may_be_whole(error: Exception) -> bool:
    """Returns whether an error is of the storage or the network, not of the checkpoint's content."""
    elsewhere = ("PERMISSION_DENIED", "UNAUTHENTICATED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")
    return isinstance(error, PermissionError | ConnectionError | TimeoutError) or any(
        code in str(error) for code in elsewhere
    )


def _reason(error: Exception | None) -> str:
    """Shortens an error of orbax or tensorstore, whose messages run over pages."""
    if error is None:
        return "another process could not read it"
    text = " ".join(str(error).split()).split(". Truncating/padding")[0]  # advice for programmers follows
    if "RESOURCE_EXHAUSTED" in text or "No space left" in text:
        return "no space left on the device"
    text = text.split(" See full TensorStore details: <")[0]  # orbax prints a method there by mistake
    return text[:200] or type(error).__name__


def abstract(state: Any, sharding: Any) -> Any:
    """Returns the shapes and dtypes of `state` with `sharding`, which is one for all leaves or a tree of them."""
    shardings = jax.tree.broadcast(sharding, state)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, shardings)
