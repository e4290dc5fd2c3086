"""Logs the losses of a run, and stops it when they are no longer finite.

Losses and state are replicated, so all processes stop at the same step.
"""

import collections
import dataclasses
from collections.abc import Callable

import jax
import numpy as np
import optax

from pix2pix_jax.errors import UserError
from pix2pix_jax.gan.objective import Metrics
from pix2pix_jax.gan.state import TrainState
from pix2pix_jax.gan.train_step import all_finite
from pix2pix_jax.runtime import console
from pix2pix_jax.training.callbacks import Callback, due
from pix2pix_jax.training.throughput import Throughput
from pix2pix_jax.workdir.logs import RunLog

# Losses are read so many steps after their update is dispatched, so that the device never waits; the first step's are
# read at once, so that people see it, and what is compiled for later begins after it.
_LAG = 2
_all_finite = jax.jit(all_finite)  # a module's, so that it is traced once and not at every save


class DivergedError(UserError):
    """Ends a run whose losses or state are no longer finite.

    Attributes:
      step: the first step with losses that are not finite, or the step of a state that is not and was to be saved.
    """

    def __init__(self, step: int, reason: str):
        super().__init__(
            f"step {step}: {reason}; try a lower --config.learning_rate or another --config.seed (in another "
            "--workdir), or float32 if --config.compute_dtype is bfloat16; the checkpoints before this step are kept"
        )
        self.step = step


@dataclasses.dataclass(kw_only=True)
class MetricLogger(Callback):
    """Logs the mean of the losses every few steps, and stops the run when they are not finite.

    Attributes:
      log: where the means go.
      every: steps between two log lines; 0 logs none.
      window: the losses of each step since the last log line; checkpoints keep them, for a resumed run's next line.
      total: the last step of the run.
      health: returns warnings about a log line, given its step and means; they are printed.
      speed: counts the steps whose losses are read.
      schedule: the learning rate of a step, from the number of updates before it; it is logged too. It is asked
        for an int, which gives the rate on the host: a computation between the steps would wait for the device.
    """

    log: RunLog
    every: int
    window: list[dict[str, float]]
    total: int
    health: Callable[[int, dict[str, float]], list[str]]
    speed: Throughput
    schedule: optax.Schedule
    _pending: collections.deque[tuple[int, Metrics]] = dataclasses.field(default_factory=collections.deque)
    _lag: int = dataclasses.field(default=0, init=False)

    def on_step(self, step: int, state: TrainState, metrics: Metrics) -> None:
        for value in metrics.values():
            value.copy_to_host_async()
        self._pending.append((step, metrics))
        if len(self._pending) > self._lag:
            self._read()
            self._lag = _LAG

    def drain(self) -> None:
        """Reads the losses of all steps so far, and waits for them."""
        while self._pending:
            self._read()

    def on_end(self, step: int, state: TrainState) -> None:
        """Logs the steps since the last line at the run's last step. A prolonged run averages them again."""
        if step < self.total:
            return
        self.drain()
        if self.window:
            self._write(step, self._means())

    def _write(self, step: int, means: dict[str, float]) -> None:
        self.log.scalars(step, means, rates={"learning_rate": float(self.schedule(step - 1))})

    def _means(self) -> dict[str, float]:
        return {name: float(np.mean([losses[name] for losses in self.window])) for name in self.window[0]}

    def _read(self) -> None:
        step, metrics = self._pending.popleft()
        losses = {name: float(value) for name, value in metrics.items()}
        self.speed.finished(step)
        if not np.isfinite(list(losses.values())).all():
            raise DivergedError(step, "the losses are no longer finite numbers")
        self.log.progress(step, losses)
        if self.every:
            self.window.append(losses)
        if due(step, self.every):
            means = self._means()
            self._write(step, means)
            self.window.clear()
            for line in (*self.health(step, means), *self.speed.settled(dict(self._pending))):
                console.log(line)


def check_finite(state: TrainState, step: int) -> None:
    """Raises DivergedError if the state is not finite, which the losses of its last update need not show."""
    if not _all_finite(state):
        raise DivergedError(step, "parameters, statistics or optimisers are no longer finite numbers")
