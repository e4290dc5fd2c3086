"""Recognises the layout of a folder from the names in it: which files make which pairs.

Layouts, where `a_folders` and `b_folders` replace "A" and "B", and each of train, val and test may be absent:
  A|B side-by-side images                  train/*.png   or  *.png
  folders of images paired by stem         A/train/*.png  or  train/A/*.png  or  trainA/*.png  or  A/*.png
  arrays                                   train.npz  or  trainA.npy and trainB.npy  or  A.npy and B.npy

These names may be in upper or lower case, and splits have other names too (`ALIASES`). If the folder of a split holds
no images but folders of images, for example one a class, the split is all of them.
"""

import dataclasses
import functools
import itertools
import os
import zlib
from collections.abc import Mapping, Sequence

from etils import epath

from pix2pix_jax.data.files import listing
from pix2pix_jax.data.files.listing import list_images, list_tree, no_images
from pix2pix_jax.errors import NoSplit, UserError, printable

ALIASES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
SPLITS = tuple(ALIASES)
_FOLDERS = ("{member}/{split}", "{split}/{member}", "{split}{member}", "{member}")
_ARRAYS = ("{split}{member}.npy", "{member}.npy", "{split}.npz")


@dataclasses.dataclass(frozen=True)
class Layout:
    """Tells how a folder is laid out."""

    kind: str  # "joined" (A|B images), "separate" (folders paired by stem) or "arrays"
    folder: epath.Path
    # By split, the folder or array file of every member, A's first; {"": ...} where the folder is not split.
    places: Mapping[str, tuple[epath.Path, ...]]
    a: tuple[str, ...] = ("A",)  # names of the members whose images are stacked to A
    b: tuple[str, ...] = ("B",)
    # (A path that exists, a path that is missing) for each split that some members have and others lack.
    lacking: tuple[tuple[epath.Path, epath.Path], ...] = ()

    @property
    def splits(self) -> list[str]:
        """Returns the splits that exist; none where the folder is not split."""
        return [split for split in SPLITS if split in self.places]

    def paths(self, split: str) -> tuple[epath.Path, ...]:
        """Returns the folder or array file of every member, A's first. Raises NoSplit if only others are there."""
        if self.splits and split not in self.splits:
            present = ", ".join(self.splits)
            raise NoSplit(f"{printable(self.folder)}: has no {split}/, only {present}; add it or use another split")
        return self.places[split if self.splits else ""]

    @property
    def known(self) -> list[epath.Path]:
        """Returns the folders and files of all splits."""
        return [path for paths in self.places.values() for path in paths]

    def describe(self) -> str:
        names = dict.fromkeys(os.path.relpath(path, self.folder) for path in next(iter(self.places.values())))
        return " and ".join(printable(name) + "/" * (self.kind == "separate") for name in names)


class _Finder:
    """Finds the paths that layouts' patterns name in a folder. Reads each listing once."""

    def __init__(self, folder: epath.Path):
        self._folder = folder
        self._children = functools.cache(lambda folder: listing.entries(folder) if folder.is_dir() else [])

    def layout(self, kind: str, pattern: str, a: tuple[str, ...], b: tuple[str, ...]) -> Layout | None:
        """Returns the layout of `pattern`, or None if the folder does not have it."""
        places, lacking = {}, []
        for split in SPLITS if "{split}" in pattern else ("",):
            paths = [self.find(pattern, split, member, is_file=kind == "arrays") for member in (*a, *b)]
            if all(paths):
                places[split] = tuple(paths)
            elif any(paths):
                i = paths.index(None)
                gone = self._folder / pattern.replace("{split}", split).replace("{member}", (*a, *b)[i])
                lacking.append((next(filter(None, paths)), gone))
        return Layout(kind, self._folder, places, a, b, tuple(lacking)) if places else None

    def find(self, pattern: str, split: str, member: str = "", *, is_file: bool = False) -> epath.Path | None:
        """Finds the path that `pattern` names in the folder. Raises UserError if several names fit."""
        path, parts = self._folder, pattern.split("/")
        for i, part in enumerate(parts):
            names = dict.fromkeys(part.replace("{split}", alias) for alias in ALIASES.get(split, (split,)))
            names = [name.replace("{member}", member) for name in names]
            path = self._child(path, names, is_file=is_file and i == len(parts) - 1)
            if path is None:
                return None
        return path

    def _child(self, folder: epath.Path, names: Sequence[str], *, is_file: bool) -> epath.Path | None:
        wanted = {name.casefold() for name in names}
        paths = [path for path in self._children(folder) if path.name.casefold() in wanted]
        paths = [path for path in paths if (listing.is_file(path) if is_file else path.is_dir())]
        if len(names) == 1 and any(path.name == names[0] for path in paths):  # a/ and A/ may be two members
            paths = [path for path in paths if path.name == names[0]]
        if len(paths) > 1:
            names = " and ".join(sorted(printable(path.name) for path in paths))
            raise UserError(f"{printable(folder)}: has {names}, which are names of the same; keep one of them")
        return paths[0] if paths else None


def find_layout(folder: epath.Path, a: Sequence[str] = ("A",), b: Sequence[str] = ("B",)) -> Layout:
    """Recognises the layout of `folder`; A|B images if no other fits.

    Raises:
      UserError: no such folder, it fits two layouts, or `a` and `b` are named and not there.
    """
    side_by_side = joined(folder)
    a, b, finder = tuple(map(str, a)), tuple(map(str, b)), _Finder(folder)
    kinds = [("separate", pattern) for pattern in _FOLDERS] + [("arrays", pattern) for pattern in _ARRAYS]
    layouts = [layout for kind, pattern in kinds if (layout := finder.layout(kind, pattern, a, b))]
    if len(layouts) > 1:  # A/train/ makes A/ itself a folder of folders
        layouts = [x for x in layouts if x.kind != "separate" or x.splits or any(map(list_images, x.paths("")))]
    named = (a, b) != (("A",), ("B",))
    texts = [layout.describe() for layout in layouts]
    if len(layouts) == 1 and not named and (stray := _first_image(side_by_side, besides=layouts[0])):
        texts.append(f"A|B images as {printable(stray)}")
    if len(texts) > 1:
        texts = "; ".join(texts)
        raise UserError(f"{printable(folder)}: fits several layouts ({texts}); keep one, or set config.data_dir to it")
    if layouts:
        return layouts[0]
    if named:
        raise _no_members(folder, a, b)
    if not side_by_side.splits and not list_images(folder):
        raise _no_pairs(folder)
    return side_by_side


def joined(folder: epath.Path) -> Layout:
    """Returns the layout of single or A|B images. Raises UserError if there is no such folder."""
    if not folder.is_dir():
        raise UserError(f"{printable(folder)}: no such directory; set config.data_dir to the folder of your images")
    return _Finder(folder).layout("joined", "{split}", ("",), ()) or Layout("joined", folder, {"": (folder,)})


def _first_image(layout: Layout, *, besides: Layout) -> str:
    """Returns the path of an image of a layout that another one has not, relative to their folder; "" if none."""
    taken = set(map(os.fspath, besides.known))
    files = [file for place in layout.known for file in list_images(place) if os.fspath(file) not in taken]
    return os.path.relpath(files[0], layout.folder) if files else ""


def _no_members(folder: epath.Path, a: tuple[str, ...], b: tuple[str, ...]) -> UserError:
    finder, patterns = _Finder(folder), ("{member}", "{split}{member}")
    missing = [m for m in (*a, *b) if not any(finder.find(p, split, m) for p in patterns for split in ("", *SPLITS))]
    return UserError(
        f"{printable(folder)}: has no {', '.join(missing or (*a, *b))}, only {_folders_in(folder) or 'no folders'}; "
        "set config.a_folders and config.b_folders to names that are there"
    )


def _no_pairs(folder: epath.Path) -> UserError:
    finder = _Finder(folder)
    for pattern in ("{member}", "{split}{member}"):
        a, b = (finder.find(pattern, "train", member) for member in "AB")
        if bool(a) != bool(b):
            there = (a or b).name
            missing = there[:-1] + ("B" if a else "A")
            return UserError(f"{printable(folder)}: has {there} but no {missing}; both are needed, paired by file name")
    text = f"{no_images(folder)}; put side-by-side A|B images there, or folders A and B"
    if names := _folders_in(folder):
        text += f"; of its folders ({names}) name two with --config.a_folders and --config.b_folders"
    return UserError(text)


def _folders_in(folder: epath.Path) -> str:
    return printable(", ".join(sorted(f.name for f in folder.iterdir() if f.is_dir())[:8]))


def list_all(layout: Layout, split: str, *, single: bool) -> list[epath.Path]:
    """Lists the images of a split of a "joined" layout in natural order, or all images of a folder without splits.

    `single` ones, which are no pairs, may lie in folders of any names.

    Raises:
      UserError: there are none, or their folders seem to be A and B under other names.
    """
    [folder] = layout.paths(split)
    files = list_tree(folder, layout.folder) if layout.splits or single else list_images(folder, layout.folder)
    if not files and not layout.splits:
        raise _no_pairs(folder)
    if not files:
        raise UserError(f"{no_images(folder)}; put side-by-side A|B images there")
    if not single:
        _check_no_sides(folder, files)
    return files


def _check_no_sides(folder: epath.Path, files: Sequence[epath.Path]) -> None:
    """Refuses folders inside a split that hold the same names: they are probably A and B rather than classes."""
    stems: dict[str, set[str]] = {}
    for file in files:
        if file.parent != folder:
            stems.setdefault(os.path.relpath(file.parent, folder), set()).add(os.path.splitext(file.name)[0])
    for one, other in itertools.combinations(sorted(stems), 2):
        if stems[one] == stems[other]:
            one, other = printable(one), printable(other)
            raise UserError(
                f"{printable(folder)}: {one}/ and {other}/ hold the same names; if these are A and B, set "
                f"--config.a_folders={one} --config.b_folders={other}; if all are A|B images, put them into "
                f"{printable(folder.name)}/ itself"
            )


def choose_split(names: Sequence[str], folder: epath.Path, split: str) -> list[str]:
    """Chooses the names of `split`, train or val. Val is the tenth of `names` with the lowest CRC-32."""
    if split == "test":
        raise NoSplit(f"{printable(folder)}: without test/ there is no test split; use --split=val")
    if len(names) == 1:
        raise UserError(
            f"{printable(folder)}: one image alone cannot be split into train and val; add more, or put it into train/ "
            "to train without val"
        )
    by_hash = sorted(names, key=lambda name: (zlib.crc32(os.fsencode(name)), name))
    val = set(by_hash[: max(1, round(len(names) / 10))])
    return [name for name in names if (name in val) == (split == "val")]
