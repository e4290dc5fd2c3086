"""Reads a set's published files, out of its archive or out of a folder, without unpacking anything.

An archive is taken for hostile: nothing of it is written to disk under a name of its own, links are
not followed, and no single read is larger than `MAX_BYTES`.
"""

import gzip
import hashlib
import pathlib
import tarfile
import zlib
from collections.abc import Collection, Iterator
from typing import BinaryIO

from etils import epath

from pix2pix_jax.errors import UserError

MAX_BYTES = 64 * 2**20
_JPEG_START = b"\xff\xd8"
_GZIP_START = b"\x1f\x8b"
_DAMAGE = (tarfile.TarError, zlib.error, EOFError, OSError)


def find(root: epath.Path, name: str, splits: Collection[str]) -> epath.Path | None:
    """The set's folder or archive in `root`: `NAME/`, `NAME.tar.gz`, or `root` if it has every split."""
    if (root / name).is_dir():
        return root / name
    if (root / f"{name}.tar.gz").is_file():
        return root / f"{name}.tar.gz"
    if all((root / split).is_dir() for split in splits):
        return root
    return None


def read_split(path: epath.Path, split: str) -> Iterator[tuple[str, bytes]]:
    """Yields (stem, JPEG bytes) of each image of `split`.

    Args:
      path: the folder that holds the splits' folders, or a tar archive (gzip or plain).
      split: the folder's name; in an archive it may lie at any depth.

    Raises:
      UserError: the archive is damaged, or a file is too large, is no JPEG or is there twice.
    """
    read = _read_folder if path.is_dir() else _read_archive
    seen = set()
    for file, data in read(path, split):
        stem = pathlib.PurePosixPath(file).stem
        if not data.startswith(_JPEG_START):
            raise UserError(f"{path}: {file} is not a JPEG file; get the set's files again")
        if stem in seen:
            raise UserError(f"{path}: {split}/{stem}.jpg is there twice; get the set's files again")
        seen.add(stem)
        yield stem, data


def digest(path: epath.Path, algorithm: str) -> str:
    """The file's digest in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _read_folder(root: epath.Path, split: str) -> Iterator[tuple[str, bytes]]:
    folder = root / split
    for file in folder.iterdir() if folder.is_dir() else ():
        name = f"{split}/{file.name}"
        if _is_image_of(split, name) and file.is_file():
            _check_size(root, name, file.stat().length)
            yield name, file.read_bytes()


def _read_archive(path: epath.Path, split: str) -> Iterator[tuple[str, bytes]]:
    try:
        with path.open("rb") as raw, _decompressed(raw) as stream:
            yield from _tar_members(path, stream, split)
            while stream.read(2**20):  # gzip checks its CRC at the end
                pass
    except _DAMAGE as error:
        raise UserError(f"{path}: the archive cannot be read to its end ({error}); download it again") from error


def _tar_members(path: epath.Path, stream: BinaryIO, split: str) -> Iterator[tuple[str, bytes]]:
    with tarfile.TarFile(fileobj=_BoundedReads(stream), errors="replace") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # tarfile keeps them all, and sets have up to 140,000
            if member.isreg() and _is_image_of(split, member.name):
                _check_size(path, member.name, member.size)
                yield member.name, tar.extractfile(member).read()


def _decompressed(raw: BinaryIO) -> BinaryIO:
    """`raw`, through gzip if it is so compressed (some browsers decompress what they download)."""
    start = raw.read(len(_GZIP_START))
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if start == _GZIP_START else raw


def _is_image_of(split: str, name: str) -> bool:
    """Whether a path ends in SPLIT/FILE.jpg, says nothing of a root or a parent, and is not hidden."""
    path = pathlib.PurePosixPath(name)
    return (
        path.parent.name == split
        and path.suffix == ".jpg"
        and not path.name.startswith(".")
        and not path.is_absolute()
        and ".." not in path.parts
    )


def _check_size(path: epath.Path, name: str, size: int) -> None:
    if size > MAX_BYTES:
        raise UserError(
            f"{path}: {name} has {size} bytes, more than the {MAX_BYTES} that an image may have; "
            "get the set's files again"
        )


class _BoundedReads:
    """A stream for tarfile, which reads a header of any announced size into memory at once."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self.seek = stream.seek
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        if size > MAX_BYTES + tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._stream.read(size)
