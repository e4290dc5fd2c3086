"""Saves checkpoints as a run goes on."""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from pix2pix_jax.gan.state import TrainState
from pix2pix_jax.training import metric_logger
from pix2pix_jax.training.callbacks import Callback, due
from pix2pix_jax.training.throughput import Throughput
from pix2pix_jax.training.validation import Validator
from pix2pix_jax.workdir.checkpoints import Checkpoints
from pix2pix_jax.workdir.logs import RunLog


@dataclasses.dataclass(frozen=True, kw_only=True)
class Saving(Callback):
    """Saves every `checkpoint_every_steps`, whenever a state is the best so far, and at the end."""

    config: ConfigDict
    checkpoints: Checkpoints
    progress: dict[str, Any]  # of the checkpoint at which the run began
    total: int
    log: RunLog
    losses: metric_logger.MetricLogger
    speed: Throughput
    validator: Validator | None

    def before_step(self, step: int, state: TrainState) -> None:
        """Raises UserError if the last save has failed: before this step's samples and validation, which take long."""
        self.checkpoints.check()

    def on_step(self, step: int, state: TrainState, metrics: Any) -> None:
        is_best = self.validator is not None and self.validator.is_best(step)
        if step < self.total and (is_best or due(step, self.config.checkpoint_every_steps)):
            self._save(step, state)

    def on_end(self, step: int, state: TrainState) -> None:
        self._save(step, state)

    def _save(self, step: int, state: TrainState) -> None:
        self.losses.drain()
        self.speed.skip(step + 1)
        self.log.commit()
        metric_logger.check_finite(state, step)
        progress = {**self.progress, "losses": self.losses.window, "evaluation": None}
        if self.validator:
            progress |= {"best": self.validator.best, "evaluation": self.validator.evaluations.get(step)}
        self.checkpoints.save(step, state, self.config, progress)
