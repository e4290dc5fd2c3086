"""Sends a run's numbers and samples to Trackio. The only importer of trackio."""

import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import trackio
from etils import epath
from PIL import Image


class TrackioTracker:
    """Goes on in the run of `run_id`, or begins it, in the project pix2pix or that of TRACKIO_PROJECT.

    All stays on this machine, unless TRACKIO_SPACE_ID or TRACKIO_SERVER_URL names another place.
    """

    def __init__(self, workdir: epath.Path, *, run_id: str, fields: Mapping[str, Any]):
        self._run = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", "pix2pix"),
            name=f"{workdir.name}-{run_id}",
            resume="allow",
            config=dict(fields),
            embed=False,  # in a notebook it would open its page, on Colab for everyone
        )

    def scalars(self, step: int, values: Mapping[str, float], now: float) -> None:
        self._run.log(dict(values), step=step)

    def image(self, step: int, name: str, png: bytes, *, size: tuple[int, int]) -> None:
        self._run.log({"samples": trackio.Image(np.asarray(Image.open(io.BytesIO(png))), caption=name)}, step=step)

    def close(self) -> None:
        self._run.finish()
