"""Finds the picture files that a user names, and pairs those of several places by name."""

import glob
import os
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from etils import epath

from pix2pix_jax.data.files import images, listing
from pix2pix_jax.data.files.high_bit_depth import Header, height_by_width
from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.io import storage


class ImageFiles(NamedTuple):
    """Image files, each with its name below the folder that was given, and a note on other files ("" if none)."""

    files: dict[epath.Path, str]
    note: str = ""


def find_files(source: str, flag: str) -> ImageFiles:
    """Finds the image files of a file, a folder or a pattern.

    Raises:
      UserError: there are none; `flag` is where `source` was given.
    """
    path = storage.folder(source)
    if path.is_file():
        return ImageFiles({path: path.name})
    if path.is_dir():
        places = (path, *listing.subfolders(path))
        there = {f: os.path.relpath(f, path) for place in places for f in listing.entries(place) if not f.is_dir()}
    else:
        there = {epath.Path(f): os.path.basename(f) for f in glob.glob(os.fspath(path), recursive=True)}
        if not there and not glob.has_magic(source):
            raise UserError(f"{flag}={printable(source)}: no such file or directory")
    files = {f: name for f, name in there.items() if _is_image_file(f)}
    note = listing.describe_left_out(f for f in there if f not in files and not f.is_dir())
    if not files:
        kinds = " ".join(sorted(images.EXTENSIONS))
        raise UserError(f"{flag}={printable(source)}: no images there ({kinds})" + (f"; {note}" if note else ""))
    return ImageFiles(files, note)


def _is_image_file(path: epath.Path) -> bool:
    """Returns whether `path` is an image file; a link to nothing is, so that reading it reports it."""
    return listing.is_image_name(path.name) and (listing.is_file(path) or (os.path.islink(path) and not path.exists()))


class PictureFiles:
    """A source (`sources.datasets.Source`) of pictures, A, and targets, B, in colour and 8 bits, all of one `size`."""

    places = ("picture", "target")

    def __init__(self, pictures: str, targets: str, inputs: str = ""):
        """Finds the files, and reads their headers.

        Args:
          pictures: a file, a folder or a pattern.
          targets: the same, for the targets.
          inputs: the same, for the inputs of the pictures; "" shows none.

        Raises:
          UserError: no files, one without a partner, or sizes that differ.
        """
        sides = {"--pictures": pictures, "--targets": targets} | ({"--inputs": inputs} if inputs else {})
        there = {flag: find_files(place, flag) for flag, place in sides.items()}
        self.notes = [f"{flag}: {files.note}" for flag, files in there.items() if files.note]
        by_name = {flag: _by_name(files.files, flag) for flag, files in there.items()}
        for flag in list(by_name)[1:]:
            if by_name["--pictures"].keys().isdisjoint(by_name[flag]):
                by_name |= {side: _without_ending(by_name[side]) for side in ("--pictures", flag)}
            _check_partners(by_name["--pictures"], by_name[flag], flag)
        self.names = sorted(by_name["--pictures"], key=listing.natural_key)
        self._files = [[files[name] for files in by_name.values()] for name in self.names]
        self.size = self._check_sizes()

    def _check_sizes(self) -> tuple[int, int]:
        first = self._files[0][0]
        size = self.header(0)[0].size
        for index, files in enumerate(self._files):
            for file, header in zip(files[:2], self.header(index), strict=True):
                if header.size != size:
                    raise UserError(
                        f"{printable(file)}: {height_by_width(header.size)}, but {printable(first)} has "
                        f"{height_by_width(size)}; all must be alike to be compared pixel by pixel: resize one side"
                    )
        return size

    def describe(self) -> str:
        return f"{len(self.names)} pictures of {height_by_width(self.size)}"

    def dtypes(self) -> tuple[str, str]:
        return "uint8", "uint8"

    def header(self, index: int) -> tuple[Header, Header]:
        picture, target = (images.read_header(file, str(file)) for file in self._files[index][:2])
        return picture, target

    def pair(self, index: int, channels: tuple[int | None, int | None]) -> tuple[np.ndarray, np.ndarray]:
        files = zip(self._files[index][:2], channels, strict=True)
        picture, target = (images.decode(file, str(file), count) for file, count in files)
        return picture, target

    def input(self, index: int) -> np.ndarray:
        """Decodes an input: uint8 (H, W, 3), of its own size."""
        return images.decode(self._files[index][2], str(self._files[index][2]))


def _by_name(files: Mapping[epath.Path, str], flag: str) -> dict[str, epath.Path]:
    """Returns the files by their names without extension."""
    names: dict[str, epath.Path] = {}
    for file, name in files.items():
        stem = unicodedata.normalize("NFC", os.path.splitext(name)[0])  # macOS takes letters and accents apart
        if stem in names:
            raise UserError(f"{flag}: {printable(file)} and {printable(names[stem])} have the same name; remove one")
        names[stem] = file
    return names


def _without_ending(files: dict[str, epath.Path]) -> dict[str, epath.Path]:
    """Drops the ending that all names of a side share, such as _fake_B."""
    names = listing.without_ending(files)
    return {names[name]: file for name, file in files.items()}


def _check_partners(pictures: Mapping[str, epath.Path], others: Mapping[str, epath.Path], flag: str) -> None:
    for here, there, missing in ((pictures, others, flag), (others, pictures, "--pictures")):
        alone = sorted(here.keys() - there.keys(), key=listing.natural_key)
        if alone:
            raise UserError(
                f"{printable(here[alone[0]])}: has no partner of that name in {missing} ({len(alone)} of {len(here)} "
                "have none); names must agree, but for an ending that all of one side have"
            )
