"""Reads and writes files of PyTorch weights (.pth) without PyTorch.

Files come from strangers: nothing in them is executed, sizes are checked before anything is read, and every fault is a
UserError. Both formats of `torch.save` are read:

- since PyTorch 1.6 a zip archive of uncompressed entries: `TOP/data.pkl`, the numbers of each storage in
  `TOP/data/KEY`, and `TOP/byteorder`;
- before, a stream: the pickles of a magic number, a version, the machine, the object and the list of storage keys; then
  for each key an int64 count and the numbers, little-endian.
"""

import io
import math
import os
import pathlib
import pickle
import re
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np
from etils import epath

from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.io import torch_pickle
from pix2pix_jax.io.storage import write as write_whole
from pix2pix_jax.io.torch_pickle import NotWeightsError, Storage, Tensor

MAX_BYTES = 8 << 30  # of a file, and of the arrays in it; the published generators have 30 to 220 MB
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
_STORAGE_NAMES = {dtype: name for name, dtype in torch_pickle.STORAGES.items()}
_EMPTY_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"  # pickled
_ALIGNMENT = 64  # bytes; PyTorch aligns the numbers in the archive so, to map them into memory


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a file that `torch.save` wrote: a state dict, or a dict that has one as "state_dict".

    Returns the arrays by key, in the file's order and dtypes (bfloat16 is ml_dtypes'). They are read-only, and those
    that shared their memory in PyTorch still do.

    Raises UserError if there is no such file, it is damaged, or holds anything but weights, or more than MAX_BYTES.
    """
    path = _local(path)
    try:
        if not path.is_file():
            raise NotWeightsError("not a file; name the .pth file itself" if path.exists() else "no such file")
        with path.open("rb") as file:
            return _read(file)
    except NotWeightsError as error:
        raise UserError(f"{path}: {error}") from error
    except PermissionError as error:
        raise UserError(f"{path}: {error.strerror}; change the file's permissions") from error
    except Exception as error:  # zipfile, pickletools and numpy raise many types for damaged files
        reason = printable(str(error), 100) or type(error).__name__
        raise UserError(f"{path}: damaged, or not a file of PyTorch weights ({reason}); fetch it again") from error


def _local(path: str | os.PathLike) -> pathlib.Path:
    if "://" in os.fspath(path):
        raise UserError(f"{os.fspath(path)}: not a local path; copy the .pth file to or from there by other means")
    return pathlib.Path(os.path.expanduser(path))


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    if os.fstat(file.fileno()).st_size > MAX_BYTES:
        raise NotWeightsError(f"has more than {MAX_BYTES >> 30} GiB, which no weights need; check which file it is")
    start = file.read(4)
    file.seek(0)
    if start[:1] != b"\x80" and start != b"PK\x03\x04":
        raise NotWeightsError("not a file of PyTorch weights; fetch it again, or check which file it is")
    value, data_of = _open_zip(file) if start == b"PK\x03\x04" else _open_legacy(file)
    tensors = _state_dict(value)
    data = {storage: data_of(storage) for storage in {tensor.storage for tensor in tensors.values()}}
    return {key: _array(tensor, data[tensor.storage]) for key, tensor in tensors.items()}


def _open_zip(file: BinaryIO) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    """Returns the object, and a function that reads the numbers of a storage."""
    archive = zipfile.ZipFile(file)
    tops = [name.removesuffix("data.pkl") for name in archive.namelist() if re.fullmatch(r"[^/]+/data\.pkl", name)]
    if len(tops) != 1:
        raise NotWeightsError("a zip archive, but not of PyTorch weights; unpack it if the .pth file is inside")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise NotWeightsError("is compressed, which PyTorch's files never are; fetch the original")
    if sum(entry.file_size for entry in archive.infolist()) > os.fstat(file.fileno()).st_size:
        raise NotWeightsError("declares more data than the file holds; do not trust it")
    entries = {entry.filename.removeprefix(tops[0]): entry for entry in archive.infolist()}
    if entries["data.pkl"].file_size > torch_pickle.MAX_BYTES:
        raise NotWeightsError("has a list of contents too long for weights; do not trust it")
    order = archive.read(entries["byteorder"]) if "byteorder" in entries else b"little"
    if order not in (b"little", b"big"):
        raise NotWeightsError("has an unknown byte order; fetch it again")

    def data_of(storage: Storage) -> np.ndarray:
        entry = entries.get(f"data/{storage.key}")
        if entry is None or entry.file_size != storage.nbytes:
            raise _lacks(storage)
        return _numbers(archive.read(entry), storage.dtype, order.decode())

    return torch_pickle.load(io.BytesIO(archive.read(entries["data.pkl"]))).value, data_of


def _open_legacy(file: BinaryIO) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    """Returns the same as `_open_zip`, of a file written before PyTorch 1.6."""
    header = io.BytesIO(file.read(torch_pickle.MAX_BYTES))
    if torch_pickle.load(header).value != _LEGACY_MAGIC or torch_pickle.load(header).value != _LEGACY_VERSION:
        raise NotWeightsError("a pickle, but not of PyTorch weights; check which file it is")
    torch_pickle.load(header)  # sizes of C's types on the machine that wrote it, which do not matter
    value, storages = torch_pickle.load(header)
    keys = torch_pickle.load(header).value
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
        raise NotWeightsError("lists other data than its tensors name; fetch it again")
    positions, end = {}, header.tell()
    for storage in map(storages.get, keys):
        file.seek(end)
        (count,) = struct.unpack("<q", file.read(8))
        positions[storage] = end + 8
        end += 8 + storage.nbytes
        if count != storage.size or end > os.fstat(file.fileno()).st_size:
            raise _lacks(storage)

    def data_of(storage: Storage) -> np.ndarray:
        file.seek(positions[storage])
        return _numbers(file.read(storage.nbytes), storage.dtype, "little")

    return value, data_of


def _lacks(storage: Storage) -> NotWeightsError:
    return NotWeightsError(f"lacks the data {printable(storage.key, 80)} or some of them; fetch it again")


def _numbers(data: bytes, dtype: np.dtype, byte_order: str) -> np.ndarray:
    if byte_order == sys.byteorder:
        return np.frombuffer(data, dtype)
    return np.frombuffer(data, f"u{dtype.itemsize}").byteswap().view(dtype)


def _state_dict(value: Any) -> dict[str, Tensor]:
    value = value.get("state_dict", value) if isinstance(value, dict) else value
    if not isinstance(value, dict) or not value:
        raise NotWeightsError("holds no dict of weights; save a network's state_dict() in it")
    for key, tensor in value.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            where = f"{printable(str(key), 80)} ({type(tensor).__name__})"
            raise NotWeightsError(f"holds no tensor under {where}; have only the state_dict() saved in it")
    if sum(math.prod(t.shape) * t.storage.dtype.itemsize for t in value.values()) > MAX_BYTES:
        raise NotWeightsError(f"has more than {MAX_BYTES >> 30} GiB of weights; do not trust it")
    return value


def _array(tensor: Tensor, data: np.ndarray) -> np.ndarray:
    strides = [stride * data.itemsize for stride in tensor.strides]
    return np.ndarray(tensor.shape, data.dtype, data, tensor.offset * data.itemsize, strides)


def write(path: str | os.PathLike, state_dict: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by key as a file that `torch.load` turns into an OrderedDict of tensors on the CPU.

    An existing file is replaced, whole or not at all. Raises UserError if PyTorch has no such dtype, or the file cannot
    be written.
    """
    path = _local(path)
    arrays = {key: np.asarray(value) for key, value in state_dict.items()}
    for key, array in arrays.items():
        if array.dtype not in _STORAGE_NAMES:
            raise UserError(f"{path}: cannot hold {key}, as PyTorch has no {array.dtype}; convert it to float32")
    try:
        write_whole(epath.Path(path), _archive(arrays))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); make room or choose another place") from error


def _archive(arrays: Mapping[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        _add(archive, file, "data.pkl", _pickle(arrays))
        _add(archive, file, "byteorder", sys.byteorder.encode())
        for key, array in enumerate(arrays.values()):
            _add(archive, file, f"data/{key}", array.tobytes())
        _add(archive, file, "version", b"3\n")
    return file.getvalue()


def _add(archive: zipfile.ZipFile, file: BinaryIO, name: str, data: bytes) -> None:
    """Adds an entry dated 1980, so that equal weights make equal files."""
    entry = zipfile.ZipInfo(f"archive/{name}")
    fixed = 30 + len(entry.filename) + 4  # the entry's header up to the padding, an extra field of the type "FB"
    padding = -(file.tell() + fixed) % _ALIGNMENT
    entry.extra = struct.pack("<2sH", b"FB", padding) + bytes(padding)
    archive.writestr(entry, data)


def _pickle(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns the pickle (protocol 2) of an OrderedDict of tensors with their numbers in the storages "0", "1", ..."""
    items = [_plain(name) + _tensor(array, str(key)) for key, (name, array) in enumerate(arrays.items())]
    return b"\x80\x02" + _EMPTY_ORDERED_DICT + b"(" + b"".join(items) + b"u."


def _tensor(array: np.ndarray, key: str) -> bytes:
    kind = f"ctorch\n{_STORAGE_NAMES[array.dtype]}\n".encode()
    persistent = b"(" + _plain("storage") + kind + _plain(key) + _plain("cpu") + _plain(array.size) + b"tQ"
    strides = tuple(math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim))
    offset, requires_grad, no_hooks = _plain(0), _plain(False), _EMPTY_ORDERED_DICT
    layout = offset + _plain(array.shape) + _plain(strides) + requires_grad + no_hooks
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent + layout + b"tR"


def _plain(value: Any) -> bytes:
    """Returns the operations that push a plain value, which Python's own pickle has between its header and its end."""
    return pickle.dumps(value, protocol=2)[2:-1]
