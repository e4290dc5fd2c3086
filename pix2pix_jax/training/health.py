"""Warns of a discriminator that always wins and of an L1 that no longer moves.

The checks look at log lines, each the mean loss since the line before; the losses of single steps swing too much.
"""

import math
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from pix2pix_jax.configuration import build_model

_SATURATION_STEPS = 1000
_NEAR_ZERO = 0.02  # relative to the loss of a discriminator that guesses; healthy runs are at 0.1 to 0.6
# The loss on real or on fake images of a discriminator that guesses. A critic's (wgan-gp) has no such level.
_GUESSING = {"vanilla": math.log(2), "lsgan": 0.25, "hinge": 1.0}

_PLATEAU_EPOCHS = 10  # whole ones, so that means are over the same examples
_PLATEAU_STEPS = (5_000, 50_000)  # the fewest and the most steps, whatever the epochs
_PLATEAU_LINES = 5  # the fewest log lines
_PLATEAU_CHANGE = 0.005  # relative change of the L1; healthy runs lower it by a tenth in that time
_SLOW = 0.2  # relative to the first learning rate; below it an L1 that stands still is no news


def discriminator_level(means: dict[str, float], config: ConfigDict) -> float | None:
    """Scales the discriminator's losses of a log line, `means`: to 1 where it guesses, to 0 where it always wins.

    Returns None for losses without such levels.
    """
    if not config.gan_weight or config.gan_loss not in _GUESSING:
        return None
    labels = (config.label_smoothing, 1 - config.label_smoothing)  # no output meets smooth ones
    least = -sum(p * math.log(p) for p in labels if p) if config.gan_loss == "vanilla" else 0.0
    loss = (means["d_real"] + means["d_fake"]) / build_model.count_judges(config)
    return (loss - least) / (2 * _GUESSING[config.gan_loss])


def mean_level(levels: Sequence[float], lines: int) -> float:
    """Returns the mean of the last `lines` levels; infinity if there are fewer."""
    return float(np.mean(levels[-lines:])) if len(levels) >= lines else math.inf


def movement(l1: Sequence[float], lines: int) -> float:
    """Returns the relative change of the median from `lines` lines to the next `lines`; infinity if there are fewer."""
    if len(l1) < 2 * lines:
        return math.inf
    before, now = float(np.median(l1[-2 * lines : -lines])), float(np.median(l1[-lines:]))
    return abs(now - before) / before if before > 0 else math.inf


class HealthChecks:
    """Returns warnings for each log line, once when a trouble begins. A resumed run starts without earlier lines."""

    def __init__(self, config: ConfigDict, *, num_examples: int):
        every = max(1, config.log_every_steps)
        epochs = _PLATEAU_EPOCHS * num_examples // config.batch_size
        self._config, self._learning_rate = config, build_model.build_schedule(config, num_examples=num_examples)
        self._saturation_lines = math.ceil(_SATURATION_STEPS / every)
        self._plateau_lines = max(_PLATEAU_LINES, math.ceil(np.clip(epochs, *_PLATEAU_STEPS) / every))
        self._levels: list[float] = []
        self._l1: list[float] = []
        self._told: set[str] = set()

    def __call__(self, step: int, means: dict[str, float]) -> list[str]:
        return [*self._saturation(step, means), *self._plateau(step, means)]

    def _saturation(self, step: int, means: dict[str, float]) -> list[str]:
        level = discriminator_level(means, self._config)
        if level is None:
            return []
        self._levels.append(level)
        if not self._begins("saturation", mean_level(self._levels, self._saturation_lines), _NEAR_ZERO):
            return []
        return [
            f"warning, step {step}: the discriminator always wins: d_real and d_fake have been near 0 for "
            f"{_SATURATION_STEPS:,} steps, so the generator hardly learns from it. If samples/ no longer improve, try "
            "discriminator.spectral_norm=True, fewer discriminator.features, another gan_loss or label_smoothing=0.1, "
            "in another --workdir"
        ]

    def _plateau(self, step: int, means: dict[str, float]) -> list[str]:
        config, lines = self._config, self._plateau_lines
        if not any((config.l1_weight, config.l2_weight, config.charbonnier_weight)):
            return []
        self._l1.append(means["g_l1"])
        moved = movement(self._l1, lines)
        # The rate is computed on the device, which may be busy, so only when it matters.
        if moved < _PLATEAU_CHANGE and self._learning_rate(step) < _SLOW * config.learning_rate:
            return []
        if not self._begins("plateau", moved, _PLATEAU_CHANGE):
            return []
        return [
            f"warning, step {step}: g_l1 has stopped moving: {np.median(self._l1[-lines:]):.4f} over the last "
            f"{lines * config.log_every_steps:,} steps and over as many before. If samples/ look right, the run has "
            "learnt what it can; if not, check that the pairs match (pix2pix prepare), then try another learning_rate "
            "or more generator.features, in another --workdir"
        ]

    def _begins(self, name: str, value: float, limit: float) -> bool:
        """Returns whether a value has fallen below its limit; only once until it has risen above twice the limit."""
        if value > 2 * limit:
            self._told.discard(name)
        if value >= limit or name in self._told:
            return False
        self._told.add(name)
        return True
