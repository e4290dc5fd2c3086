"""Sends a run's numbers and samples to Weights & Biases. The only importer of wandb."""

import io
import os
from collections.abc import Mapping
from typing import Any

import wandb
from etils import epath
from PIL import Image


class WandbTracker:
    """Goes on in the run of `run_id`, or begins it, in the project pix2pix or that of WANDB_PROJECT.

    WANDB_MODE=offline keeps all in WORKDIR/wandb, for `wandb sync`.
    """

    def __init__(self, workdir: epath.Path, *, run_id: str, fields: Mapping[str, Any]):
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "pix2pix"),
            name=workdir.name,
            id=run_id,
            resume="allow",
            dir=None if "://" in os.fspath(workdir) else os.fspath(workdir),
            config=dict(fields),
            settings=wandb.Settings(console="off", silent=True),  # the terminal is ours
        )
        # Its own steps may not go back, as those of a run do that was killed after its last checkpoint.
        self._run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: Mapping[str, float], now: float) -> None:
        self._run.log({"step": step, **values})

    def image(self, step: int, name: str, png: bytes, *, size: tuple[int, int]) -> None:
        self._run.log({"step": step, "samples": wandb.Image(Image.open(io.BytesIO(png)), caption=name)})

    def close(self) -> None:
        self._run.finish()
