"""Reads the losses of a run that goes on: logs them, and stops it when they are no longer finite.

Losses and state are replicated, so every process finds the same divergence at the same step, and all act alike.
"""

import collections
from collections.abc import Callable

import jax
import numpy as np

from pix2pix_jax.errors import UserError
from pix2pix_jax.gan import steps
from pix2pix_jax.gan.state import TrainState
from pix2pix_jax.runtime import console
from pix2pix_jax.training.callbacks import Callback, due
from pix2pix_jax.training.throughput import Throughput
from pix2pix_jax.workdir.logs import RunLog

_LAG = 2  # steps between an update's dispatch and the reading of its losses, so that the device never waits for it
_all_finite = jax.jit(steps.all_finite)  # of the module, so that it is traced once and not at every save


class DivergedError(UserError):
    """Numbers of a run are no longer finite.

    Attributes:
      step: whose losses are the first that are not finite, or whose state is about to be saved and is not.
    """

    def __init__(self, step: int, found: str):
        super().__init__(
            f"step {step}: {found}; try a lower --config.learning_rate or another --config.seed (in another "
            "--workdir), or float32 if --config.compute_dtype is bfloat16; the checkpoints before this step are kept"
        )
        self.step = step


class MetricLogger(Callback):
    """Reads the losses of past steps without making the device wait, and stops the run when they are not finite.

    What is logged is the mean over the steps since the last log line. Their losses, `window`, are part of a checkpoint,
    so that a stopped run logs what it would have logged. `watch` is asked about every line, and its answer is printed.
    So is what `speed` says, which is told of every step whose losses are there.
    """

    def __init__(
        self,
        log: RunLog,
        every: int,
        *,
        since: list[dict[str, float]],
        total: int,
        watch: Callable[[int, dict[str, float]], list[str]],
        speed: Throughput,
    ):
        self._log, self._every, self._total, self._watch, self._speed = log, every, total, watch, speed
        self._since = list(since)
        self._pending: collections.deque[tuple[int, steps.Metrics]] = collections.deque()

    @property
    def window(self) -> list[dict[str, float]]:
        """A copy of the losses since the last log line; the reader goes on changing its own."""
        return list(self._since)

    def on_step(self, step: int, state: TrainState, metrics: steps.Metrics) -> None:
        for value in metrics.values():
            value.copy_to_host_async()
        self._pending.append((step, metrics))
        if len(self._pending) > _LAG:
            self._read()

    def drain(self) -> None:
        while self._pending:
            self._read()

    def on_end(self, step: int, state: TrainState) -> None:
        """Logs the mean of the steps since the last line at the run's last step; a longer run averages them again."""
        if step < self._total:
            return
        self.drain()
        if self._since:
            self._log.scalars(step, self._means())

    def _means(self) -> dict[str, float]:
        return {name: float(np.mean([past[name] for past in self._since])) for name in self._since[0]}

    def _read(self) -> None:
        step, metrics = self._pending.popleft()
        losses = {name: float(value) for name, value in metrics.items()}
        self._speed.finished(step)
        if not np.isfinite(list(losses.values())).all():
            raise DivergedError(step, "the losses are no longer finite numbers")
        self._log.progress(step, losses)
        if self._every:
            self._since.append(losses)
        if due(step, self._every):
            means = self._means()
            self._log.scalars(step, means)
            self._since.clear()
            for line in (*self._watch(step, means), *self._speed.settled()):
                console.log(line)


def check_finite(state: TrainState, step: int) -> None:
    """Raises Diverged if the state of `step` may not be saved: an update can break it without its losses showing."""
    if not _all_finite(state):
        raise DivergedError(step, "parameters, statistics or optimisers are no longer finite numbers")
