"""Evaluates the validation split during training, and remembers the best state so far."""

import dataclasses
import functools
import math
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2pix_jax.configuration import build_data, build_model
from pix2pix_jax.data.files.value_range import to_float
from pix2pix_jax.errors import NoSplit
from pix2pix_jax.evaluation import evaluator
from pix2pix_jax.gan.objective import Metrics
from pix2pix_jax.gan.state import TrainState
from pix2pix_jax.inference import trained_model
from pix2pix_jax.metrics.choice import MetricsConfig
from pix2pix_jax.metrics.names import LOWER_IS_BETTER, METRICS, values_of
from pix2pix_jax.runtime import console, meshes
from pix2pix_jax.training.callbacks import Callback, due
from pix2pix_jax.training.metric_logger import MetricLogger
from pix2pix_jax.training.throughput import Throughput
from pix2pix_jax.workdir.logs import RunLog

SPLIT = "val"


class Validator:
    """Computes the metrics of the validation split for a state, and remembers the best state.

    The metrics depend on the state alone, so a resumed run finds the same. All processes call it at the same step.

    Attributes:
      best: {"metric", "step", "value"} of the best evaluation so far; None before the first.
      evaluations: a record of the same kind for each step that was evaluated, unless its value was NaN.
    """

    def __init__(self, config: ConfigDict, mesh: Mesh, data: Any = None):
        """Opens the split of a checked config, and loads what the metrics need; all devices of `mesh` will evaluate.

        `data` are the pairs of dataset `given`.

        Raises:
          UserError: the config's metrics cannot be computed, or a file of the split is not a pair.
        """
        self._config = config
        self.best: dict[str, Any] | None = None
        self.evaluations: dict[int, dict[str, Any]] = {}
        self._mesh = meshes.evaluation_mesh(mesh)
        batch = meshes.inference_batch(self._mesh)
        best_metric = next(metric for metric in METRICS if config.best_metric in values_of(metric))
        metrics = tuple(dict.fromkeys((*config.eval_metrics, best_metric)))
        request = MetricsConfig(metrics=metrics, palette=config.palette)
        self._evaluator = evaluator.of_split(
            config, SPLIT, mesh=self._mesh, batch_size=batch, request=request, data=data
        )
        self._evaluator.pairs.source.describe()  # reads all headers, so that bad files are found before training
        translate = trained_model.make_translate(config, platform=meshes.platform(self._mesh))
        self._translate = jax.jit(translate, out_shardings=meshes.replicated(self._mesh))
        self._input_values = build_data.stream_values(config)["input"]

    def is_best(self, step: int) -> bool:
        """Returns whether the state of `step` is the best so far."""
        return self.best is not None and self.best["step"] == step

    def __call__(self, step: int, state: TrainState) -> dict[str, float]:
        """Returns metrics such as "val/psnr" of the state after update `step`, and updates `best`."""
        variables = build_model.inference_variables(self._config, state)
        variables = jax.device_put(variables, meshes.replicated(self._mesh))
        scores = self._evaluator.run(functools.partial(self._translate_batch, variables))
        count = len(self._evaluator.pairs)
        scores = console.bar(scores, total=count, desc=f"evaluate {SPLIT}", unit="image", leave=False)
        records = [scored.values for scored in scores]
        totals = self._evaluator.totals()
        metrics = evaluator.means(records, totals) | totals
        self._compare(step, metrics[self._config.best_metric])
        line = " ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        best = f", the best {self._config.best_metric} so far" if self.is_best(step) else ""
        console.log(f"step {step}: {SPLIT} {line}{best}")
        return {f"{SPLIT}/{name}": value for name, value in metrics.items()}

    def _translate_batch(self, variables: Any, inputs: np.ndarray, ids: np.ndarray) -> np.ndarray:
        index = trained_model.filled(self._config, len(inputs), meshes.inference_batch(self._mesh))
        images = np.asarray(to_float(inputs, self._input_values))
        placed = meshes.spread((images[index], ids[index]), self._mesh)
        return np.asarray(self._translate(variables, *placed, 0))[: len(inputs)]

    def _compare(self, step: int, value: float) -> None:
        name = self._config.best_metric
        if math.isnan(value):  # never the best, and JSON has no NaN
            return
        self.evaluations[step] = {"metric": name, "step": step, "value": value}
        sign = -1 if name in LOWER_IS_BETTER else 1
        if not self.best or self.best["metric"] != name or sign * value > sign * self.best["value"]:
            self.best = self.evaluations[step]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validation(Callback):
    """Logs the validation split's numbers every `eval_every_steps`, and at the run's last step."""

    config: ConfigDict
    validator: Validator
    total: int
    log: RunLog
    losses: MetricLogger
    speed: Throughput

    def on_step(self, step: int, state: TrainState, metrics: Metrics) -> None:
        if step < self.total and due(step, self.config.eval_every_steps):
            self._evaluate(step, state)

    def on_end(self, step: int, state: TrainState) -> None:
        if step == self.total:
            self._evaluate(step, state)

    def _evaluate(self, step: int, state: TrainState) -> None:
        self.losses.drain()
        self.speed.skip(step + 1)
        self.log.scalars(step, self.validator(step, state))


def open_validator(config: ConfigDict, mesh: Mesh, data: Any = None) -> Validator | None:
    """Opens the validator of a run; None where `eval_every_steps` is 0, or where there is no validation split."""
    try:
        return Validator(config, mesh, data) if config.eval_every_steps else None
    except NoSplit:
        console.log(f"note: {config.dataset} has no split {SPLIT}: nothing is evaluated, no checkpoint is the best")
        return None
