"""Saves and restores the train state and the config it belongs to; the only module that imports orbax."""

import contextlib
import copy
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.gan.state import TrainState
from pix2pix_jax.io import storage
from pix2pix_jax.metrics.names import LOWER_IS_BETTER
from pix2pix_jax.runtime import console, distributed
from pix2pix_jax.workdir import failures
from pix2pix_jax.workdir.checksums import checksums, json_checksum
from pix2pix_jax.workdir.progress import NO_PROGRESS, is_progress
from pix2pix_jax.workdir.retention import Retention

_NO_CHECKPOINT = "no checkpoint; train first, or check --workdir"


class DamagedError(UserError):
    """Names a checkpoint that is damaged, or is not what was saved."""


class Checkpoints(contextlib.AbstractContextManager["Checkpoints"]):
    """Saves and restores the checkpoints in `WORKDIR/checkpoints/STEP/`; each holds all that is needed to load it.

    A checkpoint gets its name only when it is complete, so a killed run leaves the previous ones. Each holds checksums
    of all its parts, so that changed files are never restored. All processes of a run call the same methods at the same
    time.
    """

    def __init__(self, workdir: epath.PathLike, *, keep: int = 3, period: int = 0, read_only: bool = False):
        """Opens the folder.

        Args:
          workdir: the folder of the run.
          keep: how many of the latest checkpoints to keep; see `Retention`.
          period: steps between regular checkpoints; 0: there are none.
          read_only: whether nothing may be created or deleted.
        """
        self._folder = storage.absolute(storage.folder(workdir)) / "checkpoints"
        self._read_only = read_only
        self._saving: int | None = None  # the step whose save may still fail
        self._retention = Retention(keep=keep, period=period)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._retention,
            create=not read_only,
            read_only=read_only,
        )
        try:
            os.fspath(self._folder).encode()  # tensorstore takes no other paths
            if read_only and not self._folder.is_dir():
                raise UserError(f"{self._folder}: {_NO_CHECKPOINT}")
            if not read_only:
                self._remove_leftovers()
            self._manager = ocp.CheckpointManager(self._folder, options=options)
        except UnicodeEncodeError:  # a name of bytes that Python keeps as lone surrogates
            name = printable(self._folder)
            raise UserError(f"{name}: not a name in UTF-8; rename the folder, or use another --workdir") from None
        except Exception as error:
            error = storage.as_os_error(error, self._folder)
            if not isinstance(error, OSError):
                raise
            raise UserError(f"{self._folder}: cannot be opened ({error.strerror}); check --workdir") from error

    def _remove_leftovers(self) -> None:
        """Removes what saves have left that were killed or ran out of disk.

        Orbax would in a thread, beside all else that looks at the folder; but in a bucket a folder goes with its last
        object, and what is left of step 3 has the names that a new checkpoint of step 3 gets.
        """
        if distributed.is_main_process():
            # A user may remove them at the same time.
            gone = contextlib.suppress(FileNotFoundError)
            with gone:
                for leftover in ocp.path.step.all_temporary_paths(self._folder):
                    with gone:
                        leftover.get().rmtree()
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("leftovers of checkpoints removed")

    def save(self, step: int, state: TrainState, config: ConfigDict, progress: Mapping[str, Any] = NO_PROGRESS) -> None:
        """Copies the state of `step` to the host, and writes it in the background. Does nothing if it is saved already.

        `progress` holds a value for each key of `progress.NO_PROGRESS`.

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
        sums = checksums(state) | {name: json_checksum(value) for name, value in texts.items()}
        items = {name: ocp.args.JsonSave(value) for name, value in {**texts, "checksums": sums}.items()}
        try:
            self._manager.save(step, args=ocp.args.Composite(state=ocp.args.PyTreeSave(state), **items))
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

    def __exit__(self, exception_type, exception, traceback) -> None:
        # After a failure of the devices, it would wait for processes that have died.
        if not isinstance(exception, jax.errors.JaxRuntimeError):
            self.close()

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def last_good(self) -> str:
        """Describes the latest checkpoint for an error message, once the save under way is complete or has failed."""
        for update in (self._manager.wait_until_finished, self._manager.reload):
            with contextlib.suppress(Exception):
                update()
        step = self.latest_step()
        if step is None:
            return "there is no earlier checkpoint"
        return f"the last good checkpoint is step {step}, which is kept, and the same command goes on from it"

    def steps(self) -> list[int]:
        """Returns the steps of all checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def load(self, step: str | int, read: Callable[[int], Any]) -> Any:
        """Returns `read(step)` of a checkpoint: of that number, of the newest whole one ("latest") or of the "best".

        Raises:
          UserError: there is no such checkpoint, or it is damaged.
        """
        names = [str(step) for step in self.steps()]
        if not names:
            raise UserError(f"{self._folder}: {_NO_CHECKPOINT}")
        if step == "latest":
            return self.newest(read)
        if step == "best":
            return self._load_best(read)
        if str(step) not in names:
            there = ", ".join([*names, "'latest'"])
            raise UserError(f"--step={step}: no such checkpoint in {self._folder}; there are {there} and 'best'")
        try:
            return read(int(step))
        except DamagedError as error:
            raise UserError(f"{error}; use another --step") from error

    def _load_best(self, read: Callable[[int], Any]) -> Any:
        for evaluation in self._ranking():
            try:
                return read(evaluation["step"])
            except DamagedError as error:
                console.log(f"warning: {error}; taking the best of the others")
        raise UserError(
            f"--step=best: no whole checkpoint in {self._folder} was evaluated as the run went on "
            "(config.eval_every_steps); use 'latest' or a number"
        )

    def best(self) -> dict[str, Any] | None:
        """Returns the best evaluation of the checkpoints that exist; None if there is none."""
        return next(iter(self._ranking()), None)

    def _ranking(self) -> list[dict[str, Any]]:
        """Sorts the evaluations of all checkpoints: those by the latest `best_metric` first, of those the best."""
        evaluations = [evaluation for step in self.steps() if (evaluation := self._evaluation(step))]
        latest = {evaluation["metric"]: evaluation["step"] for evaluation in evaluations}

        def rank(evaluation: dict[str, Any]) -> tuple[int, float]:
            sign = 1 if evaluation["metric"] in LOWER_IS_BETTER else -1
            return -latest[evaluation["metric"]], sign * evaluation["value"]

        return sorted(evaluations, key=rank)

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

        Warns of newer ones, which are damaged, and moves them to `checkpoints/damaged-STEP` unless it is read-only.

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
            for newer, error in damaged.items():
                console.log(f"warning: {error}; going back to step {step}")
                if not self._read_only:
                    self._set_aside(newer)
            return answer
        if damaged:
            raise UserError(
                f"{damaged[max(damaged)]}, and no other checkpoint is whole; use a copy of that folder, or move "
                f"{self._folder} away to begin anew"
            )
        return None

    def _set_aside(self, step: int) -> None:
        if distributed.is_main_process():
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
        restore_args = ocp.checkpoint_utils.construct_restore_args(like)
        arguments = ocp.args.PyTreeRestore(item=like, restore_args=restore_args, partial_restore=True)
        return self._read(step, "state", arguments, checksums)

    def _read_json(self, step: int, name: str) -> Any:
        return self._read(step, name, ocp.args.JsonRestore(), lambda value: {name: json_checksum(value)})

    def _read(self, step: int, name: str, arguments: Any, sums_of: Callable[[Any], dict[str, str]]) -> Any:
        """Reads an item of a checkpoint, and compares `sums_of` it with those that were saved."""
        read, failure = None, None
        items = {name: arguments, "checksums": ocp.args.JsonRestore()}
        try:
            read = self._manager.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:  # orbax and tensorstore raise many types for damaged files
            if failures.is_elsewhere(error):
                reason = failures.reason(error)
                raise UserError(f"{self._folder / str(step)}: cannot be read ({reason}); try again") from error
            failure = error
        if not distributed.everywhere(failure is None):
            raise self._damaged(step, failures.reason(failure)) from failure
        saved = read["checksums"]
        if not isinstance(saved, dict):
            raise self._damaged(step, "its checksums are no object")
        wrong = [part for part, digest in sums_of(read[name]).items() if saved.get(part) != digest]
        if not distributed.everywhere(not wrong):
            raise self._damaged(step, f"{wrong[0] if wrong else 'an array'} is not what was saved")
        return read[name]

    def _damaged(self, step: int, reason: str) -> DamagedError:
        return DamagedError(f"{self._folder / str(step)}: damaged, cannot be restored ({reason})")

    def _not_written(self, error: Exception) -> Exception:
        if isinstance(error, jax.errors.JaxRuntimeError):
            return error
        return UserError(
            f"{self._folder}: the checkpoint of step {self._saving} could not be written ({failures.reason(error)}); "
            f"make room or choose another --workdir; {self.last_good()}"
        )


def abstract(state: Any, sharding: Any) -> Any:
    """Returns the shapes and dtypes of `state` with `sharding`, which is one for all leaves or a tree of them."""
    shardings = jax.tree.broadcast(sharding, state)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, shardings)
