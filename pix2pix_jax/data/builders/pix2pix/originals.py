"""Reads a set's published files, out of its archive or out of a folder, without unpacking anything.

An archive may be hostile: its names never become names on disk, links are not followed, and no single read is larger
than `MAX_BYTES`.
"""

import contextlib
import dataclasses
import gzip
import hashlib
import lzma
import pathlib
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import BinaryIO

from etils import epath

from pix2pix_jax.data.files.listing import is_file
from pix2pix_jax.errors import UserError, printable

MAX_BYTES = 64 * 2**20
_UNPACKED, _UNPACKED_TIMES = 2**26, 20  # bytes; JPEGs hardly shrink, tar's headers and padding do
_JPEG_START = b"\xff\xd8"
# What readers raise for archives that are damaged, encrypted or packed in ways that they do not know.
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, RuntimeError, ValueError),
)


def find(root: epath.Path, name: str, splits: Collection[str]) -> epath.Path | None:
    """Finds the set's folder or archive in `root`: `NAME/`, `NAME.tar.gz`, or `root` if it has every split."""
    if (root / name).is_dir():
        return root / name
    if (root / f"{name}.tar.gz").is_file():
        return root / f"{name}.tar.gz"
    return root if all((root / split).is_dir() for split in splits) else None


@dataclasses.dataclass(frozen=True)
class Folder:
    """JPEGs in `SPLIT/` of a folder."""

    path: epath.Path

    def read(self, split: str) -> Iterator[tuple[str, bytes]]:
        """Yields (stem, encoded image) of each image of `split`.

        Raises:
          UserError: what is there is damaged, or a file is too large, is no image or is there twice.
        """
        seen = set()
        folder = self.path / split
        for file in folder.iterdir() if folder.is_dir() else ():
            name = f"{split}/{file.name}"
            if _split_of(name, (split,)) and is_file(file):
                check_size(self.path, name, file.stat().length)
                yield _checked(self.path, name, file.read_bytes(), seen)


class Archive:
    """JPEGs in `SPLIT/` of a tar archive (gzip or plain), at any depth. The archive is read once for all splits.

    TFDS asks for one split after the other. Images of a later split are set aside in a file that has no name, so that
    the system deletes it even if the process is killed.
    """

    def __init__(
        self,
        path: epath.Path,
        splits: Collection[str],
        *,
        scratch: epath.Path,
        algorithm: str,
        at_end: Callable[[str, int], None],
    ):
        """Prepares to read.

        Args:
          path: the archive.
          splits: the splits in the order in which they will be read.
          scratch: a local folder in which to set images aside.
          algorithm: name of the archive's digest, such as `md5`.
          at_end: called with the digest and the size once the whole archive has been read; it may raise UserError.
        """
        self.path = path
        self._aside = {split: [] for split in splits}
        self._spool = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 (it lives as long as this object)
        self._images = _read_archive(path, tuple(splits), algorithm, at_end)

    def read(self, split: str) -> Iterator[tuple[str, bytes]]:
        """Reads like `Folder`. Call it once per split, in the splits' order."""
        for stem, offset, size in self._aside.pop(split):
            self._spool.seek(offset)
            yield stem, self._spool.read(size)
        for owner, stem, data in self._images:
            if owner == split:
                yield stem, data
            elif owner in self._aside:
                self._aside[owner].append((stem, self._spool.seek(0, 2), len(data)))
                self._spool.write(data)
        if not self._aside:
            self._spool.close()


@contextlib.contextmanager
def damage_named(path: epath.PathLike) -> Iterator[None]:
    """Turns the errors of damaged archives into a UserError that names the archive."""
    try:
        yield
    except UserError:
        raise  # is a ValueError too
    except _DAMAGE as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: the archive cannot be read to its end ({reason}); download it again") from error


def _read_archive(
    path: epath.Path, splits: tuple[str, ...], algorithm: str, at_end: Callable[[str, int], None]
) -> Iterator[tuple[str, str, bytes]]:
    """Yields (split, stem, JPEG bytes) of each image, in the archive's order."""
    seen = set()
    with damage_named(path), path.open("rb") as raw:
        hashed = _Hashed(raw, algorithm)
        stream = _Forward(gzip.GzipFile(fileobj=hashed) if _is_gzip(raw) else hashed, raw)
        with tarfile.TarFile(fileobj=stream, encoding="utf-8", errors="surrogateescape") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # tarfile keeps them all, and sets have up to 140,000
                split = _split_of(member.name, splits)
                if member.isreg() and split:
                    check_size(path, member.name, member.size)
                    yield split, *_checked(path, member.name, tar.extractfile(member).read(), seen)
        while stream.read(2**20):  # gzip checks its CRC at the end, and the digest is of all bytes
            pass
        num_bytes = raw.tell()
    at_end(hashed.digest.hexdigest(), num_bytes)


def _is_gzip(raw: BinaryIO) -> bool:
    """Returns whether the archive is compressed; some browsers decompress what they download."""
    start = raw.read(2)
    raw.seek(0)
    return start == b"\x1f\x8b"


def _split_of(name: str, splits: tuple[str, ...]) -> str | None:
    """Returns the split of a path SPLIT/FILE.jpg, or None if it is another, absolute, hidden, or leads to a parent."""
    path = pathlib.PurePosixPath(name)
    is_image = path.suffix == ".jpg" and not path.name.startswith(".")
    if is_image and not path.is_absolute() and ".." not in path.parts and path.parent.name in splits:
        return path.parent.name
    return None


def _checked(path: epath.Path, name: str, data: bytes, seen: set[str]) -> tuple[str, bytes]:
    """Checks a file of the set, adds it to those `seen`, and returns (stem, data)."""
    file = pathlib.PurePosixPath(name)
    key = f"{file.parent.name}/{file.name}"
    if not name.isprintable():  # line breaks, control characters, bytes that are not UTF-8
        raise UserError(f"{path}: {name!a} is not a name that can be used; rename the file")
    if not data.startswith(_JPEG_START):
        raise UserError(f"{path}: {name} is not a JPEG file; get the set's files again")
    if key in seen:
        raise UserError(f"{path}: {key} is there twice; get the set's files again")
    seen.add(key)
    return file.stem, data


def check_size(path: epath.Path, name: str, size: int) -> None:
    """Raises UserError if the file `name` of `path` is too large to be read."""
    if size > MAX_BYTES:
        raise UserError(
            f"{path}: {printable(name)} has {size} bytes, more than the {MAX_BYTES} that an image may have; get the "
            "set's files again"
        )


class _Hashed:
    """Computes the digest of the bytes read from a stream."""

    def __init__(self, stream: BinaryIO, algorithm: str):
        self._stream = stream
        self.digest = hashlib.new(algorithm, usedforsecurity=False)

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.digest.update(data)
        return data


class _Forward:
    """A stream for tarfile that never goes back, so that every byte of the archive is read once, and bounds reads.

    Otherwise tarfile reads a header of any announced size into memory at once, and follows one that
    announces a negative size for ever. A small archive that unpacks to terabytes would keep us for days.
    """

    def __init__(self, stream: BinaryIO, packed: BinaryIO):
        """Takes `stream`, which unpacks what it reads from `packed`."""
        self._stream, self._packed = stream, packed
        self._position = 0

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        if size > MAX_BYTES + tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"a header of {size} bytes")
        if size < 0:
            raise tarfile.ReadError("a header of a negative size")
        data = self._stream.read(size)
        self._position += len(data)
        if self._position > _UNPACKED + _UNPACKED_TIMES * self._packed.tell():
            raise tarfile.ReadError(f"it unpacks to more than {_UNPACKED_TIMES} times its size")
        return data

    def seek(self, position: int) -> int:
        if position < self._position:
            raise tarfile.ReadError("a header that leads back")
        while self._position < position and self.read(min(position - self._position, 2**20)):
            pass
        return self._position
