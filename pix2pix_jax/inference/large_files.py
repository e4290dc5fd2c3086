"""Translates TIFF files that are too large to be read whole, a band at a time."""

import os
import zlib

import numpy as np
from etils import epath

from pix2pix_jax.data.files import tiff_bands
from pix2pix_jax.data.files.high_bit_depth import MAX_PIXELS
from pix2pix_jax.data.files.value_range import ValueRange, fit_channels, fit_range, levels
from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.inference.native import Tile
from pix2pix_jax.inference.trained_model import TrainedModel
from pix2pix_jax.io import storage

_BAND = 1024  # rows that are read at once for the picture's id


class _FittedRows:
    """Reads rows of a TIFF as a model takes them."""

    def __init__(self, rows: tiff_bands.TiffRows, channels: int, values: ValueRange, name: str):
        self._rows, self._values, self._name = rows, values, name
        self.shape = (*rows.shape[:2], channels)

    def read(self, top: int, bottom: int) -> np.ndarray:
        stored = fit_channels(self._rows.read(top, bottom), self.shape[2], self._name, alpha=self._rows.alpha)
        return fit_range(stored, self._values.dtype, self._values.limits, self._name)

    def picture_id(self) -> int:
        """Computes the id of `trained_model.picture_ids`, band by band."""
        crc = 0
        for top in range(0, self.shape[0], _BAND):
            band = levels(self.read(top, min(top + _BAND, self.shape[0])), self._values)
            crc = zlib.crc32(np.ascontiguousarray(band), crc)
        return crc


def is_large(path: epath.Path) -> bool:
    """Tells whether a file is a local TIFF of more pixels than are read whole."""
    if path.suffix.lower() not in (".tif", ".tiff") or storage.is_object(path):
        return False
    return tiff_bands.count_pixels(path) > MAX_PIXELS


def translate(model: TrainedModel, source: epath.Path, output: epath.Path, *, seed: int, tile: Tile) -> None:
    """Translates a TIFF at its own size to a TIFF in tiles, of any size up to `tiff_bands.MAX_PIXELS`.

    Args:
      model: the trained model.
      source: a local TIFF.
      output: the file to write; it appears when it is complete.
      seed: seed of dropout.
      tile: as in `TrainedModel.translate`.

    Raises:
      UserError: the file is damaged or not a plain TIFF, or the output is in a bucket.
      OSError: the output cannot be written.
    """
    if storage.is_object(output):
        raise UserError(f"{printable(source)}: so large a TIFF is written to a local disk; choose another --output")
    name, values = printable(source), model.target_values
    picture = _FittedRows(tiff_bands.TiffRows(source, name), model.config.input_channels, model.input_values, name)
    parts = model.translate_picture(picture, picture.picture_id(), seed=seed, tile=tile)
    shape = (*picture.shape[:2], model.config.target_channels)
    storage.make_folder(output.parent)
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        tiff_bands.write(partial, parts, shape, values.dtype)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
