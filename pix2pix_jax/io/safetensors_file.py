"""Reads and writes .safetensors files: arrays by name, and one JSON object. The only importer of safetensors."""

import functools
import json
import os
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy

from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.io import storage

_KEY = "pix2pix_jax"  # of the object among the file's metadata: one entry, as the library writes several in any order
_SUM = "crc32"


def dump(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> bytes:
    """Returns the bytes of a file; equal arrays and an equal `about`, a JSON object, make equal bytes."""
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}  # of others it would write the memory
    return safetensors.numpy.save(whole, {_KEY: json.dumps({**about, _SUM: _checksum(whole)})})


def read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns the arrays and the object of a file that holds what `dump` made.

    Raises UserError if there is no such file, it is damaged, or holds no such object.
    """
    path = storage.folder(path)
    if not path.is_file():
        raise UserError(f"{path}: {'not a file' if path.exists() else 'no such file'}; name a .safetensors file")
    try:
        content = storage.read(path)
        arrays = safetensors.numpy.load(content)  # which checks the whole header
        about = json.loads(_metadata(content).get(_KEY, "null"))
        if (
            isinstance(about, dict) and about.pop(_SUM, crc := _checksum(arrays)) != crc
        ):  # other writers may leave it out
            raise ValueError("its numbers are not those that were written")
    except Exception as error:  # safetensors raises KeyError for dtypes that NumPy lacks, and more
        reason = printable(" ".join(str(error).split()), 150)
        raise UserError(f"{path}: damaged, or not a .safetensors file ({reason}); write it again") from error
    if not isinstance(about, dict):
        raise UserError(f"{path}: holds no config of pix2pix_jax; give a file that pix2pix export wrote")
    return arrays, about


def _checksum(arrays: Mapping[str, np.ndarray]) -> int:
    """Returns the CRC-32 of all numbers, as the format has none."""
    return functools.reduce(lambda crc, name: zlib.crc32(arrays[name], crc), sorted(arrays), 0)


def _metadata(content: bytes) -> dict[str, str]:
    size = int.from_bytes(content[:8], "little")  # of the header, a JSON object
    return json.loads(content[8 : 8 + size]).get("__metadata__") or {}
