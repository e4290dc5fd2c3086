"""Reads the losses of a run that goes on: logs them, and stops it when they are no longer finite."""

import collections

import jax
import numpy as np

from pix2pix_jax import steps
from pix2pix_jax.errors import UserError
from pix2pix_jax.logs import RunLog
from pix2pix_jax.state import TrainState

_LAG = 2  # steps between an update's dispatch and the reading of its losses, so that the device never waits for it


def due(step: int, period: int) -> bool:
    return period > 0 and step % period == 0


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
            raise diverged(step)
        self._log.progress(step, losses)
        if self._every:
            self.window.append(losses)
        if due(step, self._every):
            self._log.scalars(step, {name: float(np.mean([past[name] for past in self.window])) for name in losses})
            self.window.clear()


def check_finite(state: TrainState, step: int) -> None:
    if not jax.jit(steps.all_finite)(state):
        raise diverged(step)


def diverged(step: int) -> UserError:
    return UserError(
        f"step {step}: the losses are no longer finite numbers; try a lower --config.learning_rate or another "
        "--config.seed (in another --workdir), or float32 if --config.compute_dtype is bfloat16; the checkpoints "
        "before this step are kept"
    )
