"""What follows a divergence under `on_divergence=rollback`: back to a checkpoint, and on with other random draws.

The draws of a run are a function of (seed, rollbacks so far), so its state is one of (config, step, rollbacks). That
number is written with every checkpoint and nowhere else: a run that is killed after a rollback starts from the old
checkpoint with the old number, meets the same divergence, and takes the same way again.
"""

import copy
import signal

import numpy as np
from ml_collections import ConfigDict

from pix2pix_jax.checkpoints import NO_PROGRESS, Checkpoints
from pix2pix_jax.interruption import Interrupted
from pix2pix_jax.logs import say
from pix2pix_jax.monitor import Diverged

MAX_ROLLBACKS = 3  # from one checkpoint


def redrawn(config: ConfigDict, rollbacks: int) -> ConfigDict:
    """The config with the seed of the random draws after so many rollbacks; after none, the config as it is."""
    if not rollbacks:
        return config
    config = copy.deepcopy(config)
    config.seed = int(np.random.SeedSequence([config.seed, rollbacks]).generate_state(1)[0] >> 1)  # 31 bits, as seeds
    return config


def saved_rollbacks(checkpoints: Checkpoints, step: int | None) -> int:
    """How often the run had been rolled back when checkpoint `step` was written; None: there is no checkpoint."""
    return (NO_PROGRESS if step is None else checkpoints.progress(step))["rollbacks"]


def roll_back(
    config: ConfigDict,
    checkpoints: Checkpoints,
    *,
    rollbacks: int,
    diverged: Diverged,
    stopped_by: signal.Signals | None,
) -> int:
    """Leaves as the latest checkpoint the one to go on from, and says so; called by every process.

    Args:
      config: of the run.
      checkpoints: of the run.
      rollbacks: so far.
      diverged: what happened.
      stopped_by: the signal that has asked the run to stop, if any.

    Returns:
      the number of rollbacks, with this one.

    Raises:
      Diverged: rollbacks are not asked for, or the run has been rolled back to that checkpoint MAX_ROLLBACKS times.
      Interrupted: the run is to stop; the same command meets the divergence again, and rolls back then.
    """
    if config.on_divergence == "stop":
        raise diverged
    if stopped_by:
        raise Interrupted(
            f"stopped; at step {diverged.step} {diverged.found}, so the same command goes on from the last checkpoint",
            by=stopped_by,
        )
    checkpoints.wait()
    target = _target(checkpoints.steps(), config)
    begin = target or 0
    again = rollbacks - saved_rollbacks(checkpoints, target) + 1
    if again > MAX_ROLLBACKS:
        raise Diverged(diverged.step, diverged.found, f", as before each of {MAX_ROLLBACKS} rollbacks to step {begin}")
    checkpoints.drop_after(-1 if target is None else target)
    say(
        f"step {diverged.step}: {diverged.found}; back to step {begin}, on with other random draws "
        f"(rollback {again} of at most {MAX_ROLLBACKS} from there)"
    )
    return rollbacks + 1


def _target(steps: list[int], config: ConfigDict) -> int | None:
    """The one of the checkpoints at `steps` to go back to; None: none of them, but to the beginning.

    It is the last one that `checkpoint_every_steps` called for, which is always kept: a run that was stopped in between
    goes back to where it would have gone without the stop. Where nothing is called for, or that one is damaged, it is
    the last one.
    """
    if not steps:
        return None
    last, period = max(steps), config.checkpoint_every_steps
    called_for = last // period * period if period else last
    if called_for == 0:
        return None
    return called_for if called_for in steps else last
