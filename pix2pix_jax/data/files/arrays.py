"""Reads NumPy files: stacks of images in .npy and .npz. Nothing is unpickled, and sizes are checked first."""

import contextlib
import functools
import math
import threading
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import psutil
from etils import epath
from numpy.lib import format as npy_format

from pix2pix_jax.data.files.value_range import stored_dtype
from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.io import storage

MAGIC = npy_format.MAGIC_PREFIX
NAMES = (("A", "B"), ("input", "target"), ("arr_0", "arr_1"))  # of the two arrays of an .npz
DAMAGE = Exception  # a header is a Python literal, an .npz a zip file, and their readers fail in many ways
_MAX_DEFLATE = 1032  # bytes that one byte of a zip file can stand for at most
_LOADING = threading.Lock()  # many threads ask for an array, and one is to load it


def read_header(stream, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Reads (shape, dtype) of a .npy stream and leaves it where the values begin.

    Raises:
      UserError: not a .npy file, or not one of numbers.
    """
    try:
        version = npy_format.read_magic(stream)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, _, dtype = read(stream)
        if any(n < 0 for n in shape):
            raise ValueError("a negative size")
    except DAMAGE as error:
        raise UserError(f"{name}: not a readable .npy array; replace or delete it") from error
    if dtype.fields is not None or dtype.subdtype is not None or stored_dtype(dtype) is None:
        raise UserError(f"{name}: holds values of type {dtype}; save numbers (uint8, uint16 or float32)")
    return shape, dtype


class Stack:
    """Reads the images of an array, all of one size: `stack[i]` is (H, W, C), `len(stack)` their number.

    Attributes:
      name: its name in error messages.
      shape: (N, H, W, C).
      dtype: NumPy dtype of the stored values.
    """

    def __init__(self, path: epath.Path, member: str | None = None):
        """Reads the header of a .npy file, or of array `member` of an .npz. Raises UserError if it is no such stack."""
        self._path, self._member = path, member
        self.name = printable(path) + (f": {member}" if member else "")
        with self._opened() as (stream, most):
            shape, self.dtype = read_header(stream, self.name)
            if math.prod(shape) * self.dtype.itemsize > most - stream.tell():
                raise ValueError(f"it is too short for {_times(shape)}")
        if len(shape) not in (3, 4) or 0 in shape:
            raise UserError(f"{self.name}: an array of {_times(shape)}; must be (N, H, W, C) or (N, H, W)")
        self.shape = shape if len(shape) == 4 else (*shape, 1)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[BinaryIO, int]]:
        """Opens the array: (its stream, the most bytes that it can have). Errors within become UserErrors."""
        try:
            with self._path.open("rb") as file:
                if self._member is None:
                    size = file.seek(0, 2)
                    file.seek(0)
                    yield file, size
                    return
                with zipfile.ZipFile(file) as archive, archive.open(f"{self._member}.npy") as stream:
                    yield stream, archive.getinfo(f"{self._member}.npy").compress_size * _MAX_DEFLATE
        except UserError:
            raise
        except DAMAGE as error:
            raise UserError(f"{self.name}: damaged file ({error}); replace or delete it") from error

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> np.ndarray:
        with _LOADING:
            array = self._array
        return array[index].reshape(self.shape[1:])

    def __getstate__(self) -> dict:
        """Leaves out the values: worker processes read the file themselves."""
        return {name: value for name, value in vars(self).items() if name != "_array"}

    @functools.cached_property
    def _array(self) -> np.ndarray:
        mapped = self._member is None and not storage.is_object(self._path)
        needed, free = math.prod(self.shape) * self.dtype.itemsize, psutil.virtual_memory().available
        if not mapped and needed > free:
            raise UserError(
                f"{self.name}: takes {needed / 1e9:.1f} GB of the {free / 1e9:.1f} GB of free memory; save the arrays "
                "as .npy files (A.npy and B.npy), which are read image by image"
            )
        with self._opened() as (stream, _):
            if mapped:
                return np.load(self._path, mmap_mode="r", allow_pickle=False)
            array = npy_format.read_array(stream, allow_pickle=False)
            stream.read(1)  # reading to a zip member's end checks its checksum
            return array


def members(path: epath.Path, names: tuple[tuple[str, ...], ...] = NAMES) -> tuple[str, ...]:
    """Returns the one of `names` that an .npz has. Raises UserError if it has none of them, or several."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            present = {name.removesuffix(".npy") for name in archive.namelist()}
    except DAMAGE as error:
        raise UserError(f"{printable(path)}: not a readable .npz file; replace or delete it") from error
    complete = [group for group in names if present.issuperset(group)]
    if len(complete) == 1:
        return complete[0]
    holds = printable(", ".join(sorted(present)[:8])) or "no arrays"
    wanted = " or ".join(" and ".join(group) for group in names)
    raise UserError(f"{printable(path)}: holds {holds}; save two arrays in it, named {wanted}")


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"
