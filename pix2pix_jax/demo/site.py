"""Makes the files of the page for a model: the same ones whether we serve it or a static host does."""

import dataclasses
import importlib.resources
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from pix2pix_jax.data.files import images
from pix2pix_jax.demo.brushes import Brushes

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


def files(settings: dict[str, Any], examples: Sequence[np.ndarray]) -> dict[str, bytes]:
    """Returns the page's files, path -> content: the sources, page.json and examples/N.png."""
    folder = importlib.resources.files("pix2pix_jax.demo").joinpath("page")
    sources = {file.name: file.read_bytes() for file in folder.iterdir() if pathlib.Path(file.name).suffix in _TYPES}
    pictures = {_example(i): images.encode(image, ".png") for i, image in enumerate(examples)}
    return sources | pictures | {"page.json": json.dumps(settings, indent=1).encode()}


def title(workdir: epath.PathLike, config: ConfigDict) -> str:
    """Returns a name for a run's model: that of its folder."""
    return epath.Path(workdir).name or config.dataset


def content_type(path: str) -> str:
    return _TYPES[pathlib.Path(path).suffix]


def settings(
    config: ConfigDict, brushes: Brushes, *, title: str, num_examples: int, has_dropout: bool, runs_in: dict[str, str]
) -> dict[str, Any]:
    """Returns what the page has to know of a model, for page.json.

    Args:
      config: the run's config.
      brushes: what to draw with.
      title: a name for the model, any text.
      num_examples: number of pictures in examples/.
      has_dropout: whether the model takes a seed.
      runs_in: {"place": "server"}, or {"place": "browser", ...} with what `model_browser.js` reads.
    """
    height, width = config.image_size
    return {
        "title": title,
        "height": int(height),
        "width": int(width),
        "channels": int(config.input_channels),
        "brushes": dataclasses.asdict(brushes) | {"colours": [[n, c] for n, c in brushes.colours.items()]},
        "examples": [_example(i) for i in range(num_examples)],
        "inputHalf": "left" if config.direction == "AtoB" else "right",
        "hasDropout": has_dropout,
        "runsIn": runs_in,
    }


def _example(number: int) -> str:
    return f"examples/{number}.png"
