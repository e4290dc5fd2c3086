"""Finds, downloads and checks the published weights of the networks that metrics use.

A file is looked for where a flag says, where the environment says, and among earlier downloads. It may be an .npz of
plain arrays or a .pth of PyTorch weights; nothing in it is executed. Scores can only be compared if their networks are
the same, so the digest of what is read is compared with that of the published arrays, whatever the file's format.
"""

import dataclasses
import hashlib
import io
import os
import pathlib
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from etils import epath

from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.io import download, pth, storage
from pix2pix_jax.metrics import inception, lpips
from pix2pix_jax.runtime import caches

_MAX_BYTES = 1 << 30  # Inception's file has 95 MB


@dataclasses.dataclass(frozen=True)
class Published:
    """Describes the published network of a metric."""

    name: str  # the command line's flag, without dashes
    variable: str  # the environment variable that names its file
    urls: tuple[str, ...]  # the .pth files that hold it together
    digest: str  # `_digest` of its arrays, in hexadecimal
    shapes: Callable[[], dict[str, tuple[int, ...]]]  # returns name -> shape of the arrays that it needs
    convert: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]  # renames PyTorch's arrays to those names
    prepare: Callable[[Mapping[str, np.ndarray]], dict[str, Any]]  # converts the arrays to Flax variables


INCEPTION = Published(
    name="inception",
    variable="PIX2PIX_INCEPTION",
    urls=(
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    ),
    digest="f52412653ee45bed604b0f4fa0d3942ce5f50784fece9766dfa6cbecddbe4555",
    shapes=inception.shapes,
    convert=dict,
    prepare=inception.fold,
)
LPIPS = Published(
    name="lpips",
    variable="PIX2PIX_LPIPS",
    urls=(
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/alex.pth",
    ),
    digest="834cd5136d908fd8c60f26546cc81877b807d7a25072cdd27c4c7e6aa99fb04a",
    shapes=lpips.shapes,
    convert=lpips.from_torch,
    prepare=lpips.variables,
)


@dataclasses.dataclass(frozen=True)
class Weights:
    """Holds a network's variables, the digest of the arrays they came from, and whether it is the published one."""

    variables: dict[str, Any]
    digest: str
    is_published: bool


def find(network: Published, given: str = "") -> pathlib.Path | None:
    """Returns the file named by the flag, else by the environment, else of an earlier download; None if there is none.

    Raises UserError if the flag or the environment names a file that does not exist.
    """
    from_environment = os.environ.get(network.variable, "")
    path = pathlib.Path(os.path.expanduser(given or from_environment or _downloaded(network)))
    if path.is_file():
        return path
    if given or from_environment:
        origin = f"--{network.name}={given}" if given else f"{network.variable}={from_environment}"
        raise UserError(f"{origin}: no such file; name the .npz or .pth of {network.name}'s weights")
    return None


def load(network: Published, given: str = "") -> Weights:
    """Reads the file that `find` returns; if there is none, downloads the weights, checks them and keeps them.

    Raises UserError if there is no such file, it does not hold this network, or it cannot be downloaded.
    """
    return read(network, find(network, given) or _download(network))


def _downloaded(network: Published) -> pathlib.Path:
    return caches.folder("metrics") / f"{network.name}.npz"


def _download(network: Published) -> pathlib.Path:
    remedy = f"get it by other means, and name it by --{network.name}=FILE or {network.variable}"
    arrays: dict[str, np.ndarray] = {}
    parts = [_downloaded(network).with_name(url.rpartition("/")[2]) for url in network.urls]
    for url, part in zip(network.urls, parts, strict=True):
        download.fetch(url, part, remedy=remedy)
        arrays |= pth.read(part)
    arrays = _selected(network, arrays, ", ".join(map(str, parts)))
    for part in parts:
        part.unlink()
    if (digest := _digest(arrays)) != network.digest:
        raise UserError(f"{network.urls[0]}: is not what was published (sha256 {digest[:16]}); {remedy}")
    file = io.BytesIO()
    np.savez(file, **arrays)
    storage.write(epath.Path(_downloaded(network)), file.getvalue())
    return _downloaded(network)


def read(network: Published, path: pathlib.Path) -> Weights:
    """Reads a file. Raises UserError if it is damaged or does not hold this network."""
    arrays = _selected(network, _read_npz(path) if path.suffix == ".npz" else pth.read(path), str(path))
    digest = _digest(arrays)
    return Weights(network.prepare(arrays), digest, digest == network.digest)


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads arrays. Raises UserError if the file is damaged, holds Python objects, or unpacks to over _MAX_BYTES."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _MAX_BYTES:
                raise ValueError(f"unpacks to more than {_MAX_BYTES >> 20} MiB")
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("a member is no array")
        return arrays
    except Exception as error:  # zipfile, zlib and numpy raise many types for damaged and hostile files
        reason = printable(str(error), 150) or type(error).__name__
        raise UserError(f"{path}: cannot be read as .npz ({reason}); check it, or fetch it again") from error


def _selected(network: Published, arrays: Mapping[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """Returns the network's arrays in float32. Raises UserError if one is missing, misshapen or not finite."""
    shapes = network.shapes()
    if not shapes.keys() <= arrays.keys():
        arrays = network.convert(arrays)
    lacking = [name for name in shapes if name not in arrays]
    if lacking:
        missing = f"{lacking[0]} and {len(lacking) - 1} more of {len(shapes)} arrays"
        raise UserError(f"{where}: not the weights of {network.name}: lacks {missing}; check which file it is")
    for name, shape in shapes.items():
        array = arrays[name]
        if array.shape != shape or array.dtype.kind != "f":
            misfit = f"{name} is {array.dtype} {array.shape}, where it has {shape}"
            raise UserError(f"{where}: not the weights of {network.name}: {misfit}; check which file it is")
        if not np.isfinite(array).all():
            raise UserError(f"{where}: {name} holds NaN or infinite values; fetch it again")
    return {name: np.ascontiguousarray(arrays[name], np.float32) for name in shapes}


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Computes SHA-256 over names, shapes and little-endian float32 values, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape}\n".encode())
        digest.update(arrays[name].astype("<f4").tobytes())
    return digest.hexdigest()
