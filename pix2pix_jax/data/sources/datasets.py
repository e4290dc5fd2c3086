"""Opens the pairs of a split, wherever they are kept."""

from collections.abc import Sequence

import numpy as np
from etils import epath

from pix2pix_jax.data.files.high_bit_depth import Header, height_by_width
from pix2pix_jax.data.files.listing import natural_key
from pix2pix_jax.data.sources.drawn_facades.draw import draw_pair
from pix2pix_jax.data.sources.folder_sources import FolderSource, half_headers, open_folder, split_halves
from pix2pix_jax.data.sources.folders import joined
from pix2pix_jax.data.sources.source import Channels, Source
from pix2pix_jax.errors import UserError
from pix2pix_jax.io import storage

PUBLISHED = ("facades", "maps", "cityscapes", "edges2shoes", "edges2handbags", "night2day")
DATASETS = ("drawn_facades", "folder", *PUBLISHED)


def open_source(
    dataset: str,
    split: str,
    *,
    data_dir: str,
    size: tuple[int, int],
    seed: int,
    single: bool = False,
    data_url: str = "",
    a_folders: Sequence[str] = ("A",),
    b_folders: Sequence[str] = ("B",),
) -> Source:
    """Opens one split of a data set.

    Args:
      dataset, split: one of DATASETS and of SPLITS.
      data_dir: the folder of a `folder` set; for a published set the folder of its own files (or the one above), its
        archive, or where TFDS keeps data sets ("" is TFDS' default).
      size: (H, W) at which `drawn_facades` draws.
      seed: selects the pairs that `drawn_facades` draws, >= 0.
      single: whether a `folder` holds single images, each of which is both A and B.
      data_url: address of a published set's archive; "" is the published one.
      a_folders, b_folders: names of the folders of a `folder` set whose images are stacked to A and to B.

    Raises:
      UserError: no such folder or split, or nothing in it.
    """
    if dataset == "drawn_facades":
        return DrawnSource(split=split, size=size, seed=seed)
    if dataset == "folder":
        if not data_dir:
            raise UserError("config.data_dir: empty; give the folder of your images for dataset 'folder'")
        return open_folder(storage.folder(data_dir), split, a=a_folders, b=b_folders, single=single)
    if folder := _own_files(dataset, data_dir):
        return FolderSource(folder, split)
    return TfdsSource(dataset, split, data_dir, data_url)


def is_at_hand(dataset: str, data_dir: str) -> bool:
    """Returns whether a data set can be opened without a download; that of a `folder` may be missing all the same."""
    if dataset not in PUBLISHED or _own_files(dataset, data_dir):
        return True
    from pix2pix_jax.data.builders.prepare import is_built

    return is_built(dataset, data_dir or None)


def _own_files(dataset: str, data_dir: str) -> epath.Path | None:
    """Returns the folder of a published set's own files, None if `data_dir` does not hold them."""
    for folder in (storage.folder(data_dir), storage.folder(data_dir) / dataset):
        if data_dir and folder.is_dir() and "train" in joined(folder).splits:
            return folder
    return None


_DRAWN_COUNT = {"train": 400, "val": 100, "test": 100}
_DRAWN_FIRST = {"train": 0, "val": 1_000_000, "test": 2_000_000}  # far apart, so that no picture is in two splits


class DrawnSource(Source):
    """The embedded pairs: 400 to train on and 100 each to validate and test, as many as the published facades."""

    places = ("photo", "labels")

    def __init__(self, *, split: str, size: tuple[int, int], seed: int):
        self._first, self._size, self._seed = _DRAWN_FIRST[split], size, seed
        self.names = [f"{split}-{i:03d}" for i in range(_DRAWN_COUNT[split])]

    def describe(self) -> str:
        return f"{len(self.names)} pairs drawn at {height_by_width(self._size)} from seed {self._seed}"

    def header(self, index: int) -> tuple[Header, Header]:
        return Header(self._size), Header(self._size)

    def pair(self, index: int, channels: Channels) -> tuple[np.ndarray, np.ndarray]:
        if not {None, 3}.issuperset(channels):
            raise UserError("config.input_channels: dataset 'drawn_facades' is in colour; use 3 and 3")
        return draw_pair(self._seed, self._first + index, self._size)


class TfdsSource(Source):
    """A published set from the TFDS builder `pix2pix`, downloaded and built at first use.

    Its files are JPEG and PNG of 8 bits. Their sizes are not asked for: TFDS writes a set once and would read it all.
    """

    places = ("left half", "right half")

    def __init__(self, dataset: str, split: str, data_dir: str, data_url: str = ""):
        # TFDS takes seconds to import and only published sets need it.
        from pix2pix_jax.data.builders.prepare import open_split

        self._examples, stems = open_split(dataset, split, data_dir=data_dir or None, url=data_url)
        names = [f"{split}/{stem}" for stem in stems]
        # TFDS stores examples in an order of its own; in that of the files, a run is the same from either.
        self._order = sorted(range(len(names)), key=lambda i: natural_key(names[i]))
        self.names = [names[i] for i in self._order]
        self._label = f"{dataset} {split}"

    def describe(self) -> str:
        return f"{len(self._examples)} pairs of the published {self._label}"

    def header(self, index: int) -> tuple[Header, Header]:
        return half_headers(self._examples[self._order[index]]["image"], self._name(index))

    def pair(self, index: int, channels: Channels) -> tuple[np.ndarray, np.ndarray]:
        return split_halves(self._examples[self._order[index]]["image"], self._name(index), channels=channels)

    def _name(self, index: int) -> str:
        return f"{self._label}: {self.names[index]}"
