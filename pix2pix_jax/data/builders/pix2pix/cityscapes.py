"""Joins the files that cityscapes-dataset.com gives to registered users into pairs as pix2pix published them.

The archive of the pairs has been withdrawn for licence reasons. The script of pytorch-CycleGAN-and-pix2pix makes them
anew from the same files: it resizes both pictures to 256x256 by one filter, and puts the photograph left of the labels.
The filter here is bicubic for both, which is Pillow's default today. So labels get blended colours at their borders, as
in the published pairs. Pairs are PNG, so that nothing is lost a second time.
"""

import contextlib
import re
import zipfile
from collections.abc import Iterator
from concurrent import futures

import numpy as np
from etils import epath

from pix2pix_jax.data.files import images
from pix2pix_jax.errors import UserError

from . import originals

PHOTOS, LABELS = "leftImg8bit_trainvaltest.zip", "gtFine_trainvaltest.zip"
_SIZE = (256, 256)
_THREADS = 8  # a pair takes half a second of one core
_BATCH = 64  # pairs that may be ready before they are taken
_MEMBERS = {
    PHOTOS: re.compile(r"leftImg8bit/(?P<split>train|val)/[^/]+/(?P<name>[\w-]+)_leftImg8bit\.png", re.ASCII),
    LABELS: re.compile(r"gtFine/(?P<split>train|val)/[^/]+/(?P<name>[\w-]+)_gtFine_color\.png", re.ASCII),
}
REMEDY = (
    f"register at https://www.cityscapes-dataset.com, download {PHOTOS} and {LABELS} there, and place both, "
    "as they are,"
)


class Zips:
    """The pairs of both files, which lie in one folder."""

    def __init__(self, path: epath.Path):
        """Raises UserError if one of the two is missing."""
        self.path = path
        for name in (PHOTOS, LABELS):
            if not (path / name).is_file():
                raise UserError(f"{path / name}: no such file; {REMEDY} in that folder")

    def read(self, split: str) -> Iterator[tuple[str, bytes]]:
        """Yields (`CITY_SEQUENCE_FRAME`, PNG of 512x256) of each pair. Raises UserError as `originals.Folder`."""
        with (
            _opened(self.path / PHOTOS) as photos,
            _opened(self.path / LABELS) as labels,
            futures.ThreadPoolExecutor(_THREADS) as pool,
        ):
            left, right = _members(photos, split), _members(labels, split)
            for name in sorted(left.keys() ^ right.keys()):
                lacking = self.path / (PHOTOS if name in right else LABELS)
                raise UserError(f"{lacking}: has no {split} picture for {name}; download it again")

            def make(name: str) -> tuple[str, bytes]:
                pair = [_read(photos, left[name]), _read(labels, right[name])]
                return name, images.encode(np.concatenate(pair, axis=1), ".png")

            names = sorted(left)
            for first in range(0, len(names), _BATCH):
                yield from pool.map(make, names[first : first + _BATCH])


def are_in(root: epath.Path) -> bool:
    """Returns whether one of the two files is in a folder."""
    return (root / PHOTOS).is_file() or (root / LABELS).is_file()


@contextlib.contextmanager
def _opened(path: epath.Path) -> Iterator[zipfile.ZipFile]:
    with path.open("rb") as file, originals.damage_named(path), zipfile.ZipFile(file) as archive:
        yield archive


def _members(archive: zipfile.ZipFile, split: str) -> dict[str, zipfile.ZipInfo]:
    """Returns the files of a split by name, such as "aachen_000000_000019". Files of other names are ignored."""
    pattern = _MEMBERS[epath.Path(archive.filename).name]
    members = {}
    for info in archive.infolist():
        match = pattern.fullmatch(info.filename)
        if match and match["split"] == split:
            name = match["name"]
            if name in members:
                raise UserError(f"{archive.filename}: {split} picture {name} is there twice; download it again")
            members[name] = info
    return members


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Decodes a file to uint8 (256, 256, 3)."""
    path = epath.Path(archive.filename)
    originals.check_size(path, info.filename, info.file_size)
    with originals.damage_named(path):
        data = archive.read(info)
    return images.resize(images.decode(data, f"{path}: {info.filename}"), _SIZE)
