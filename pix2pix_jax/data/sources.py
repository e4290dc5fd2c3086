"""Random access to the pairs of a split, wherever they are kept.

A source knows its examples by index and returns the two images of a pair as they lie on disk, A and B; `pairs.Pairs`
makes them an input and a target of one size.
"""

import math
import re
import zlib
from collections.abc import Sequence
from concurrent import futures
from typing import Protocol

import numpy as np
from etils import epath

from pix2pix_jax.data import images
from pix2pix_jax.data.drawn_facades import draw_pair
from pix2pix_jax.errors import UserError

SPLITS = ("train", "val", "test")
PUBLISHED = ("facades", "maps", "cityscapes", "edges2shoes", "edges2handbags", "night2day")
DATASETS = ("drawn_facades", "folder", *PUBLISHED)


class Source(Protocol):
    """Pairs by index: `names[i]`, and `pair(i, channels)` -> (A, B), each uint8 (H, W, C)."""

    names: Sequence[str]

    def describe(self) -> str:
        """What is there, for people. Raises UserError for files that cannot be pairs, as far as headers tell."""

    def pair(self, index: int, channels: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]: ...


def open_source(
    dataset: str, split: str, *, data_dir: str, size: tuple[int, int], seed: int, single: bool = False
) -> Source:
    """Opens one split of a data set.

    Args:
      dataset: one of DATASETS.
      split: one of SPLITS.
      data_dir: the folder of a `folder` set; for a published set the folder of its own files (or the one above), its
        archive, or where TFDS keeps data sets ("" is TFDS' default).
      size: (H, W) at which `drawn_facades` draws.
      seed: of the pairs that `drawn_facades` draws.
      single: a `folder` holds single images, each of which is both A and B.

    Raises:
      UserError: no such folder or split, or nothing in it.
    """
    if dataset == "drawn_facades":
        return DrawnSource(split=split, size=size, seed=seed)
    if dataset == "folder":
        if not data_dir:
            raise UserError("config.data_dir: empty; give the folder of A|B images for dataset 'folder'")
        return (PhotoSource if single else FolderSource)(epath.Path(data_dir).expanduser(), split)
    for folder in (epath.Path(data_dir).expanduser(), epath.Path(data_dir).expanduser() / dataset):
        if data_dir and (folder / "train").is_dir():
            return FolderSource(folder, split)
    return TfdsSource(dataset, split, data_dir)


_DRAWN_COUNT = {"train": 400, "val": 100, "test": 100}
_DRAWN_FIRST = {"train": 0, "val": 1_000_000, "test": 2_000_000}  # far apart, so that no picture is in two splits


class DrawnSource:
    """The embedded pairs: 400 to train on and 100 each to validate and test, as many as the published facades."""

    def __init__(self, *, split: str, size: tuple[int, int], seed: int):
        self._first, self._size, self._seed = _DRAWN_FIRST[split], size, seed
        self.names = [f"{split}-{i:03d}" for i in range(_DRAWN_COUNT[split])]

    def describe(self) -> str:
        return f"{len(self.names)} pairs drawn at {self._size[0]}x{self._size[1]} from seed {self._seed}"

    def pair(self, index: int, channels: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        if channels != (3, 3):
            raise UserError("config.input_channels: dataset 'drawn_facades' is in colour; use 3 and 3")
        return draw_pair(self._seed, self._first + index, self._size)


class FolderSource:
    """A folder of side-by-side A|B images, with train/, val/ and test/ or without.

    Without them, the tenth of the files (at least one) whose names have the lowest CRC-32 are `val` and the others
    `train`, so a file stays where it was when others come.
    """

    def __init__(self, folder: epath.Path, split: str):
        self._folder = folder
        self._files = _list_split(folder, split)
        self.names = [str(f.relative_to(folder).with_suffix("")) for f in self._files]

    _unit = "pairs"

    def _size(self, path: epath.Path) -> tuple[int, int]:
        with path.open("rb") as file:
            return check_pair_size(images.read_size(file, str(path)), str(path))

    def describe(self) -> str:
        with futures.ThreadPoolExecutor(8) as pool:
            sizes = sorted(set(pool.map(self._size, self._files)), key=math.prod)
        text = f"{len(self._files)} {self._unit} of {sizes[0][0]}x{sizes[0][1]} from {self._folder}"
        if len(sizes) > 1:
            text += f" (sizes differ, the largest {sizes[-1][0]}x{sizes[-1][1]}; all are resized to one)"
        return text

    def pair(self, index: int, channels: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        path = self._files[index]
        return split_halves(path.read_bytes(), str(path), channels)


class PhotoSource(FolderSource):
    """A folder of single images, each of which is both A and B."""

    _unit = "images"

    def _size(self, path: epath.Path) -> tuple[int, int]:
        with path.open("rb") as file:
            return images.read_size(file, str(path))

    def pair(self, index: int, channels: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        path = self._files[index]
        image = images.decode(path.read_bytes(), str(path), channels[0])
        return image, image


class TfdsSource:
    """A published set from the TFDS builder `pix2pix`, downloaded and built at first use."""

    def __init__(self, dataset: str, split: str, data_dir: str):
        # TFDS takes seconds to import and only published sets need it.
        from pix2pix_jax.data.builders.prepare import open_split

        self._examples = open_split(dataset, split, data_dir=data_dir or None)
        names = [f"{split}/{self._examples[i]['name'].decode()}" for i in range(len(self._examples))]
        # TFDS stores examples in an order of its own; in that of the files, a run is the same from either.
        self._order = sorted(range(len(names)), key=lambda i: natural_key(names[i]))
        self.names = [names[i] for i in self._order]
        self._label = f"{dataset} {split}"

    def describe(self) -> str:
        return f"{len(self._examples)} pairs of the published {self._label}"

    def pair(self, index: int, channels: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        example = self._examples[self._order[index]]
        return split_halves(example["image"], f"{self._label}: {self.names[index]}", channels)


def split_halves(file: bytes, name: str, channels: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Decodes a side-by-side image to (A, its left half; B, its right half), channels[0] and channels[1] deep."""
    left = images.decode(file, name, channels[0])
    right = left if channels[1] == channels[0] else images.decode(file, name, channels[1])
    _, width = check_pair_size(left.shape[:2], name)
    return left[:, :width], right[:, width:]


def check_pair_size(size: tuple[int, int], name: str) -> tuple[int, int]:
    """The size of one half of a side-by-side image of `size` (H, W). Raises UserError if it has none."""
    height, width = size
    if width % 2:
        raise UserError(
            f"{name}: {width} pixels wide, an odd number, so A and B cannot be its halves; crop it or take it away"
        )
    return height, width // 2


def _list_split(folder: epath.Path, split: str) -> list[epath.Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such directory; set config.data_dir to the folder of A|B images")
    present = [name for name in SPLITS if (folder / name).is_dir()]
    if split in present:
        files = _list_images(folder / split)
    elif present:
        raise UserError(f"{folder}: has no {split}/, only {', '.join(present)}; add it or use another split")
    else:
        files = _choose_split(_list_images(folder), folder, split)
    if not files:
        where = folder / split if present else folder
        kinds = " ".join(sorted(images.EXTENSIONS))
        raise UserError(f"{where}: holds no images ({kinds}); put side-by-side A|B images there")
    return files


def _choose_split(files: list[epath.Path], folder: epath.Path, split: str) -> list[epath.Path]:
    if split == "test":
        raise UserError(f"{folder}: without test/ there is no test split; use --split=val")
    if len(files) == 1:
        raise UserError(f"{folder}: one image alone cannot be split into train and val; add more")
    by_hash = sorted(files, key=lambda f: (zlib.crc32(f.name.encode()), f.name))
    val = set(by_hash[: max(1, round(len(files) / 10))])
    return [f for f in files if (f in val) == (split == "val")]


def _list_images(folder: epath.Path) -> list[epath.Path]:
    files = [
        f
        for f in folder.iterdir()
        if f.suffix.lower() in images.EXTENSIONS and not f.name.startswith(".") and f.is_file()
    ]
    return sorted(files, key=lambda f: (natural_key(f.name), f.name))  # 1.jpg and 01.jpg are the same number


def natural_key(name: str) -> list:
    """Sorts 2.jpg before 10.jpg."""
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in re.split(r"([0-9]+)", name)]
