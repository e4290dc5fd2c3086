"""Checkpoints of the train state and the config it belongs to; the only module that imports orbax."""

from collections.abc import Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from ml_collections import ConfigDict

from pix2pix_jax import config as config_lib
from pix2pix_jax.errors import UserError
from pix2pix_jax.state import TrainState


class Checkpoints:
    """The checkpoints in `WORKDIR/checkpoints/STEP/`; each holds all that is needed to load it.

    Saving is asynchronous: `save` returns once the state is copied to the host. A checkpoint gets its name only when it
    is complete, so a killed run leaves the previous ones.
    """

    def __init__(self, workdir: epath.PathLike, *, keep: int = 3, read_only: bool = False):
        """Opens the folder.

        Args:
          workdir: of the run.
          keep: how many of the latest checkpoints to keep.
          read_only: nothing is created or deleted.
        """
        self._folder = epath.Path(workdir).expanduser().resolve() / "checkpoints"
        self._read_only = read_only
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else keep, create=not read_only, read_only=read_only
        )
        if read_only and not self._folder.is_dir():
            raise UserError(f"{self._folder}: no checkpoint; train first, or check --workdir")
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(self, step: int, state: TrainState, config: ConfigDict, losses: Sequence[dict[str, float]] = ()) -> None:
        """Begins to save; called by every process.

        Args:
          step: of the state.
          state: all that training needs.
          config: of the run.
          losses: of the steps since the last log line, which the next one averages.

        Raises:
          UserError: the folder cannot be written.
        """
        if step in self._manager.all_steps():
            return
        arguments = ocp.args.Composite(
            state=ocp.args.PyTreeSave(state),
            config=ocp.args.JsonSave(config_lib.to_dict(config)),
            losses=ocp.args.JsonSave(list(losses)),
        )
        try:
            self._manager.save(step, args=arguments)
        except Exception as error:
            raise self._not_written(error) from error

    def wait(self) -> None:
        """Returns once everything is on disk. Raises UserError if it could not be written."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._not_written(error) from error

    def close(self) -> None:
        self._manager.close()

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def resolve(self, step: str | int) -> int:
        """The step that "latest" or a number names. Raises UserError if there is no such checkpoint."""
        steps = self._manager.all_steps()
        if not steps:
            raise UserError(f"{self._folder}: no checkpoint; train first, or check --workdir")
        if step == "latest":
            return max(steps)
        if not str(step).isdigit() or int(step) not in steps:
            there = ", ".join(map(str, sorted(steps)))
            raise UserError(f"--step={step}: no such checkpoint in {self._folder}; there are {there} and 'latest'")
        return int(step)

    def config(self, step: int) -> ConfigDict:
        """The config that the checkpoint was trained with."""
        return config_lib.from_dict(self._restore(step, config=ocp.args.JsonRestore())["config"])

    def losses(self, step: int) -> list[dict[str, float]]:
        """The losses that `save` was given."""
        return self._restore(step, losses=ocp.args.JsonRestore())["losses"]

    def restore(self, step: int, like: Any) -> Any:
        """Restores a state, or some of it, in the shapes, dtypes and shardings of `like`.

        Args:
          step: of the checkpoint.
          like: a TrainState, or nested dicts with some of its parts, of ShapeDtypeStructs; the rest is not read.
        """
        arguments = ocp.args.PyTreeRestore(
            item=like,
            restore_args=ocp.checkpoint_utils.construct_restore_args(like),
            partial_restore=True,
        )
        return self._restore(step, state=arguments)["state"]

    def _restore(self, step: int, **items: Any) -> Any:
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except UserError:
            raise
        except Exception as error:  # orbax and tensorstore raise many types for damaged files
            raise UserError(
                f"{self._folder / str(step)}: cannot be restored ({_reason(error)}); "
                "use another --step, or delete that folder"
            ) from error

    def _not_written(self, error: Exception) -> UserError:
        kept = self.latest_step()
        last = f"the last good checkpoint is step {kept}" if kept is not None else "there is no earlier checkpoint"
        return UserError(
            f"{self._folder}: the checkpoint could not be written ({_reason(error)}); make room or choose another "
            f"--workdir; {last}"
        )


def _reason(error: Exception) -> str:
    """The gist of an error of orbax or tensorstore, whose messages run over pages."""
    text = " ".join(str(error).split())
    if "RESOURCE_EXHAUSTED" in text or "No space left" in text:
        return "no space left on the device"
    return text[:200] or type(error).__name__


def abstract(state: Any, sharding: Any) -> Any:
    """The shapes and dtypes of `state`, on `sharding`, one for all leaves or a tree of them."""
    shardings = jax.tree.broadcast(sharding, state)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, shardings)
