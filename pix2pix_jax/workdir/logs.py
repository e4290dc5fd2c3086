"""Writes a run's logs: progress bar, metrics.jsonl, TensorBoard, sample grids. Only process 0 does."""

import contextlib
import json
import math
import re
import time
import types
from collections.abc import Mapping
from concurrent import futures
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from pix2pix_jax.configuration import flatten
from pix2pix_jax.data.files.images import encode
from pix2pix_jax.data.files.value_range import render
from pix2pix_jax.errors import UserError
from pix2pix_jax.io import storage
from pix2pix_jax.runtime import console, distributed
from pix2pix_jax.workdir import events, trackers
from pix2pix_jax.workdir import folder as workdir_lib

NO_RATES: Mapping[str, float] = types.MappingProxyType({})
# What the progress bar shows, where there is room for it: the losses always.
_FORMATS = (
    "{percentage:3.0f}% |{bar:20}| step {n_fmt}/{total_fmt}, {elapsed} gone, {remaining} left, EPOCH, RATE, LOSSES",
    "{percentage:3.0f} %, step {n_fmt}/{total_fmt}, {elapsed} gone, {remaining} left, EPOCH, RATE, LOSSES",
    "{percentage:3.0f} %, step {n_fmt}/{total_fmt}, {remaining} left, RATE, LOSSES",
    "step {n_fmt}/{total_fmt}, {remaining} left, LOSSES",
    "{n_fmt}/{total_fmt}, {remaining}, LOSSES",
    "{n_fmt}/{total_fmt}, LOSSES",
    "LOSSES",
)


class RunLog(contextlib.AbstractContextManager["RunLog"]):
    """Continues the logs of a training run from step `start`, and drops later lines.

    On exit everything is on disk. Methods raise NotWrittenError for files that cannot be written; for samples, which a
    thread writes, a later call does.
    """

    def __init__(
        self,
        workdir: epath.Path,
        *,
        start: int,
        total: int,
        num_examples: int,
        batch_size: int,
        config: ConfigDict | None = None,
    ):
        """Opens the logs; `config`, if any, is written to TensorBoard, and names the tracker that gets the numbers."""
        self._main = distributed.is_main_process()
        self._workdir, self._start = workdir, start
        self._num_examples, self._batch_size = num_examples, batch_size
        self._thread = futures.ThreadPoolExecutor(1)  # encodes and writes samples while the device trains on
        self._pending: list[futures.Future] = []
        self._bar = console.bar(
            initial=start, total=total, leave=True, mininterval=0.5, bar_format="step {n_fmt}/{total_fmt}"
        )
        self._shown: tuple[int, dict[str, float]] | None = None  # the last step, and its losses
        if self._main:
            with workdir_lib.writing():
                storage.make_folder(workdir / "samples")
                path = workdir / "metrics.jsonl"
                self._lines = storage.open_log(path, _lines_until(start, storage.read(path)))
                event_log = events.EventLog(workdir, start=start)
                self._curves: list[trackers.Tracker] = [event_log]
                if config is not None:
                    fields = {name: _plain(value) for name, value in flatten(config).items()}
                    event_log.config(start, fields)
                    self._curves += trackers.open_trackers(config.log_to, workdir, fields)

    def progress(self, step: int, losses: dict[str, float]) -> None:
        """Moves the progress bar to `step`, and shows its losses."""
        self._collect(wait=False)
        if self._bar.disable:  # in all processes but the main one; tqdm gives it no `last_print_t`
            return
        first, self._shown = self._shown is None, (step, losses)
        if first or time.time() >= self._bar.last_print_t + self._bar.mininterval:  # else it is not drawn
            self._write_bar(step, losses)
        self._bar.update(step - self._bar.n)

    def _write_bar(self, step: int, losses: dict[str, float]) -> None:
        state = self._bar.format_dict
        rate = state["rate"] or (step - self._start) / max(state["elapsed"], 1e-9)
        shown = {
            "EPOCH": f"epoch {(step - 1) * self._batch_size // self._num_examples + 1}",
            "RATE": f"{rate * self._batch_size:.1f} images/s",
            "LOSSES": " ".join(f"{name} {value:.3f}" for name, value in losses.items()),
        }
        console.fit(self._bar, [re.sub("[A-Z]+", lambda name: shown[name[0]], text) for text in _FORMATS])

    def scalars(self, step: int, values: dict[str, float], *, rates: Mapping[str, float] = NO_RATES) -> None:
        """Writes a line of metrics.jsonl, with null for values that are not finite, and points of curves.

        Curves hold the losses as train/NAME, and the learning `rates` beside them.
        """
        if not self._main:
            return
        now = time.time()
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with workdir_lib.writing():
            self._lines.append((json.dumps({"step": step, "time": now, **finite}) + "\n").encode())
            points = {name if "/" in name else f"train/{name}": value for name, value in {**values, **rates}.items()}
            for curves in self._curves:
                curves.scalars(step, points, now)

    def commit(self) -> None:
        """Waits until samples are written and metrics.jsonl would survive a crash; called before each save."""
        self._collect(wait=True)
        if self._main:
            with workdir_lib.writing():
                self._lines.commit()

    def samples(self, step: int, images: dict[str, jax.Array]) -> None:
        """Makes a thread write samples/STEP.png, a column for each of `images`, float (N, H, W, C) in [-1, 1]."""
        if self._main:
            self._pending.append(self._thread.submit(self._write_grid, step, images))

    def _write_grid(self, step: int, images: dict[str, jax.Array]) -> None:
        grid = make_grid([render(column) for column in images.values()])
        png = encode(grid, ".png")
        storage.write(self._workdir / "samples" / f"{step:06d}.png", png)
        for curves in self._curves:
            curves.image(step, "samples: " + " | ".join(images), png, size=grid.shape[:2])

    def _collect(self, *, wait: bool) -> None:
        """Raises the errors of samples that are written; if `wait`, waits for all of them."""
        while self._pending and (wait or self._pending[0].done()):
            with workdir_lib.writing():
                self._pending.pop(0).result()

    def __exit__(self, exception_type, exception, traceback) -> None:
        self._thread.shutdown(wait=True)
        if self._shown:
            self._write_bar(*self._shown)
        self._bar.close()
        if not self._main:
            return
        # Logs are saved if they can be, but the error that ends the run is the one to raise.
        with contextlib.suppress(UserError) if exception else contextlib.nullcontext(), workdir_lib.writing():
            self._collect(wait=True)
            self._lines.close()
            for curves in self._curves:
                curves.close()


def _plain(value: Any) -> bool | int | float | str:
    """Returns a field's value as TensorBoard and trackers take it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "unset" if value is None else value


def make_grid(columns: list[np.ndarray], gap: int = 2) -> np.ndarray:
    """Joins columns of uint8 (N, H, W, 1 or 3) to one uint8 (N * (H + gap) - gap, ..., 3) image, with white gaps."""
    columns = [np.broadcast_to(c, (*c.shape[:3], 3)) for c in columns]
    padded = [np.pad(c, ((0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255) for c in columns]
    rows = np.concatenate(padded, axis=2)
    return np.concatenate(list(rows), axis=0)[:-gap, :-gap]


def _lines_until(step: int, content: bytes) -> bytes:
    """Returns a log without the lines beyond `step`, which come again, and without a line cut short."""
    kept = []
    for line in content.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            if json.loads(line)["step"] <= step:
                kept.append(line + b"\n")
    return b"".join(kept)
