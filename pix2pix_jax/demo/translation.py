"""Translates drawings one at a time; of those that wait, only the newest."""

import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from ml_collections import ConfigDict

from pix2pix_jax.data.files.value_range import fit_range, render
from pix2pix_jax.errors import UserError
from pix2pix_jax.inference.trained_model import TrainedModel

Result = TypeVar("Result")


class SupersededError(Exception):
    """Signals that a newer call has come while this one waited."""


class Newest:
    """Runs one call at a time. A newer call takes the place of an older one that waits."""

    def __init__(self):
        self._condition = threading.Condition()
        self._running, self._last = False, 0

    def run(self, action: Callable[[], Result]) -> Result:
        """Runs `action` once no other runs. Raises SupersededError if another thread has called since."""
        with self._condition:
            self._last += 1
            mine = self._last
            self._condition.notify_all()
            self._condition.wait_for(lambda: not self._running or self._last != mine)
            if self._last != mine:
                raise SupersededError
            self._running = True
        try:
            return action()
        finally:
            with self._condition:
                self._running = False
                self._condition.notify_all()


def check_channels(config: ConfigDict) -> None:
    """Raises UserError for a model whose inputs cannot be drawn."""
    if config.input_channels not in (1, 3):
        raise UserError(f"config.input_channels={config.input_channels}: the page draws 1 or 3 channels only")


class Drawings:
    """Translates drawings of the model's size, given and returned as bytes of 8 bits, row by row.

    Dropout is drawn from the seed alone, not from the drawing: a stroke leaves the grain of what it does not touch.
    """

    def __init__(self, model: TrainedModel):
        check_channels(model.config)
        self._model = model
        height, width = model.config.image_size
        self.shape = (int(height), int(width), int(model.config.input_channels))

    @property
    def num_bytes(self) -> int:
        return int(np.prod(self.shape))

    def translate(self, drawing: bytes, seed: int) -> bytes:
        """Translates uint8 (H, W, C) to uint8 (H, W, 1 or 3); `seed` is that of dropout, in the range of int32."""
        return self.translate_array(np.frombuffer(drawing, np.uint8).reshape(self.shape), seed).tobytes()

    def translate_array(self, drawing: np.ndarray, seed: int = 0) -> np.ndarray:
        values = self._model.input_values
        stored = fit_range(drawing, values.dtype, values.limits, "the drawing")
        floats = self._model.translate_resized(stored[None], seed=seed, ids=np.zeros(1, np.uint32))
        return render(floats)[0]

    def has_dropout(self) -> bool:
        """Returns whether seeds make a difference, by trying; compiles the model's program."""
        noise = np.random.default_rng(0).integers(0, 256, self.shape, np.uint8)
        return bool((self.translate_array(noise, 0) != self.translate_array(noise, 1)).any())
