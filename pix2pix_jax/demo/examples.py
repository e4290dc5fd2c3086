"""Finds inputs of a run to start drawing from, without a download."""

import contextlib
import io

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from pix2pix_jax.configuration import build_data
from pix2pix_jax.data.files import images
from pix2pix_jax.data.files.value_range import picture
from pix2pix_jax.data.sources import datasets
from pix2pix_jax.errors import UserError
from pix2pix_jax.io import storage

COUNT = 12


def find(config: ConfigDict, workdir: epath.PathLike) -> list[np.ndarray]:
    """Returns up to COUNT inputs, uint8 (H, W, 1 or 3) of the model's `image_size`.

    They come from the validation split, or else another one. Where the data are not on this machine, they come from the
    pictures of an evaluation or from the grids of samples. They may be none.
    """
    places = (
        lambda: _of_data(config),
        lambda: _of_evaluations(config, storage.folder(workdir)),
        lambda: _of_samples(config, storage.folder(workdir)),
    )
    for look in places:
        # Files that are gone or damaged, a model of the Hub, libraries of training: the page works without.
        with contextlib.suppress(UserError, OSError, ModuleNotFoundError):
            if found := look():
                return found
    return []


def _of_data(config: ConfigDict) -> list[np.ndarray]:
    if not datasets.is_at_hand(config.dataset, config.data_dir):
        return []
    for split in ("val", "test", "train"):
        if (pairs := build_data.open_pairs_if_any(config, split)) is not None:
            values = build_data.stream_values(config)["input"]
            return [picture(pairs[i]["input"], values) for i in range(min(COUNT, len(pairs)))]
    return []


def _of_evaluations(config: ConfigDict, workdir: epath.Path) -> list[np.ndarray]:
    newest = max(workdir.glob("eval/*/images"), key=lambda path: path.stat().mtime, default=None)
    files = sorted(newest.glob("*-input.png"))[:COUNT] if newest else []
    return [_sized(_decode(path, config), config) for path in files]


def _of_samples(config: ConfigDict, workdir: epath.Path) -> list[np.ndarray]:
    """Cuts the inputs out of the newest grid, whose first column they are."""
    newest = max(workdir.glob("samples/*.png"), key=lambda path: path.name, default=None)
    if newest is None:
        return []
    grid, (height, width), gap = _decode(newest, config), config.image_size, 2
    count = (len(grid) + gap) // (height + gap)
    return [grid[i * (height + gap) :][:height, :width] for i in range(min(count, COUNT))]


def _decode(path: epath.Path, config: ConfigDict) -> np.ndarray:
    return images.decode(io.BytesIO(path.read_bytes()), str(path), channels=config.input_channels)


def _sized(image: np.ndarray, config: ConfigDict) -> np.ndarray:
    return images.resize(image, tuple(config.image_size), config.input_interpolation)
