"""Which files of a folder make which pairs: its layout, recognised from the names of what it holds.

Layouts, with "A" and "B" as `a_folders` and `b_folders` name them, and train, val and test as far as they are there:
  A|B side-by-side images                  train/*.png   or  *.png
  folders of images paired by stem         A/train/*.png  or  train/A/*.png  or  trainA/*.png  or  A/*.png
  arrays                                   train.npz  or  trainA.npy and trainB.npy  or  A.npy and B.npy
"""

import dataclasses
import os
import re
import unicodedata
import zlib
from collections.abc import Iterable, Sequence

from etils import epath

from pix2pix_jax.data import images
from pix2pix_jax.errors import NoSplit, UserError, shown

SPLITS = ("train", "val", "test")
_FOLDERS = ("{member}/{split}", "{split}/{member}", "{split}{member}", "{member}")
_ARRAYS = ("{split}{member}.npy", "{member}.npy", "{split}.npz")


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a folder is laid out.

    Attributes:
      kind: "joined" (A|B images), "separate" (folders paired by stem) or "arrays".
      folder: all that is in it.
      pattern: of the folders or array files, with {split} and {member}.
      a, b: the members whose images are stacked to A and to B.
    """

    kind: str
    folder: epath.Path
    pattern: str
    a: tuple[str, ...] = ("A",)
    b: tuple[str, ...] = ("B",)

    @property
    def splits(self) -> list[str]:
        """The splits that are there; empty where the folder is not split."""
        return [split for split in SPLITS if self._has(split)] if "{split}" in self.pattern else []

    def paths(self, split: str) -> list[epath.Path]:
        """The folder or array file of every member, A's first."""
        return [self.folder / self.pattern.replace("{split}", split).replace("{member}", m) for m in (*self.a, *self.b)]

    def _has(self, split: str) -> bool:
        return all(path.is_file() if self.kind == "arrays" else path.is_dir() for path in self.paths(split))

    def is_there(self) -> bool:
        return bool(self.splits) if "{split}" in self.pattern else self._has("")

    def describe(self) -> str:
        split = "train" if "train" in self.splits else (*self.splits, "")[0]
        names = dict.fromkeys(os.path.relpath(path, self.folder) for path in self.paths(split))
        return " and ".join(shown(name) + "/" * (self.kind == "separate") for name in names)


def find_layout(folder: epath.Path, a: Sequence[str] = ("A",), b: Sequence[str] = ("B",)) -> Layout:
    """The layout of `folder`; A|B images where nothing speaks for another.

    Raises:
      UserError: no such folder, it fits two layouts, or `a` and `b` are named and not there.
    """
    if not folder.is_dir():
        raise _no_folder(folder)
    a, b = tuple(map(str, a)), tuple(map(str, b))
    found = [Layout("separate", folder, pattern, a, b) for pattern in _FOLDERS]
    found += [Layout("arrays", folder, pattern, a, b) for pattern in _ARRAYS]
    found = [layout for layout in found if layout.is_there()]
    if len(found) > 1:  # A/train/ makes A/ itself a folder of folders
        found = [layout for layout in found if layout.pattern != "{member}" or any(map(list_images, layout.paths("")))]
    if len(found) > 1:
        texts = "; ".join(layout.describe() for layout in found)
        raise UserError(f"{shown(folder)}: fits several layouts ({texts}); keep one, or set config.data_dir to it")
    if (a, b) != (("A",), ("B",)):
        return found[0] if found else _raise_no_members(folder, a, b)
    if found and (stray := _joined_images(folder, found[0])):
        raise UserError(
            f"{shown(folder)}: fits several layouts ({found[0].describe()}; A|B images as {shown(stray)}); keep one, "
            "or set config.data_dir to it"
        )
    if not found:
        found = [joined(folder)]
        if "{split}" not in found[0].pattern and not list_images(folder):
            _raise_no_images(folder)
    return found[0]


def joined(folder: epath.Path) -> Layout:
    """The layout of single or A|B images. Raises UserError if there is no such folder."""
    if not folder.is_dir():
        raise _no_folder(folder)
    split = any((folder / name).is_dir() for name in SPLITS)
    return Layout("joined", folder, "{split}" if split else ".")


def _no_folder(folder: epath.Path) -> UserError:
    return UserError(f"{shown(folder)}: no such directory; set config.data_dir to the folder of your images")


def _joined_images(folder: epath.Path, other: Layout) -> str:
    """A file that speaks for A|B images beside another layout; "" if there is none."""
    taken = {os.fspath(path) for split in (*SPLITS, "") for path in other.paths(split)}
    split_folders = [folder / name for name in SPLITS if (folder / name).is_dir()]
    files = [f for place in split_folders or [folder] for f in list_images(place) if os.fspath(f) not in taken]
    return os.path.relpath(files[0], folder) if files else ""


def _raise_no_members(folder: epath.Path, a: tuple[str, ...], b: tuple[str, ...]):
    missing = [name for name in (*a, *b) if not any((folder / f"{split}{name}").exists() for split in ("", *SPLITS))]
    raise UserError(
        f"{shown(folder)}: has no {', '.join(missing or (*a, *b))}, only {_folders_in(folder)}; set config.a_folders "
        "and config.b_folders to names that are there"
    )


def _raise_no_images(folder: epath.Path):
    kinds = " ".join(sorted(images.EXTENSIONS))
    for one, other in (("A", "B"), ("B", "A")):
        for name, missing in ((one, other), (f"train{one}", f"train{other}")):
            if (folder / name).exists() and not (folder / missing).exists():
                raise UserError(f"{shown(folder)}: has {name} but no {missing}; both are needed, paired by file name")
    hint = f"; of its folders ({_folders_in(folder)}) name two with --config.a_folders and --config.b_folders"
    raise UserError(
        f"{shown(folder)}: holds no images ({kinds}); put side-by-side A|B images there, or folders A and B"
        + (hint if _folders_in(folder) != "no folders" else "")
    )


def _folders_in(folder: epath.Path) -> str:
    return shown(", ".join(sorted(f.name for f in folder.iterdir() if f.is_dir())[:8])) or "no folders"


def list_split(layout: Layout, split: str) -> list[epath.Path]:
    """The A|B images of a split, in natural order. Raises UserError if there are none."""
    if "{split}" in layout.pattern:
        present = [name for name in SPLITS if (layout.folder / name).is_dir()]
        check_split(layout.folder, present, split)
        files = list_images(layout.folder / split, layout.folder)
    else:
        files = list_images(layout.folder, layout.folder) or _raise_no_images(layout.folder)
        files = [files[i] for i in choose_split([f.name for f in files], layout.folder, split)]
    if not files:
        kinds = " ".join(sorted(images.EXTENSIONS))
        raise UserError(f"{shown(layout.folder / split)}: holds no images ({kinds}); put side-by-side A|B images there")
    return files


def check_split(folder: epath.Path, present: Sequence[str], split: str) -> None:
    if split not in present:
        raise NoSplit(f"{shown(folder)}: has no {split}/, only {', '.join(present)}; add it or use another split")


def choose_split(names: Sequence[str], folder: epath.Path, split: str) -> list[int]:
    """Of examples that are not split, the indices of those in train or val: a tenth, by the CRC-32 of their names."""
    if split == "test":
        raise NoSplit(f"{shown(folder)}: without test/ there is no test split; use --split=val")
    if len(names) == 1:
        raise UserError(f"{shown(folder)}: one image alone cannot be split into train and val; add more")
    by_hash = sorted(range(len(names)), key=lambda i: (zlib.crc32(os.fsencode(names[i])), names[i]))
    val = set(by_hash[: max(1, round(len(names) / 10))])
    return [i for i in range(len(names)) if (i in val) == (split == "val")]


def pair_split(layout: Layout, split: str) -> dict[str, list[epath.Path]]:
    """Stem -> a file of every member, of a split of separate folders, in natural order.

    Raises:
      UserError: no such split, a file without its partners, or two of the same stem.
    """
    if "{split}" in layout.pattern:
        _check_agree(layout)
        check_split(layout.folder, layout.splits, split)
    pairs = pair_by_stem(layout.paths(split), layout.folder)
    if "{split}" in layout.pattern:
        return pairs
    stems = list(pairs)
    return {stems[i]: pairs[stems[i]] for i in choose_split(stems, layout.folder, split)}


def _check_agree(layout: Layout) -> None:
    """Refuses a split that some members have and others lack."""
    for split in set(SPLITS) - set(layout.splits):
        there = [path.is_dir() for path in layout.paths(split)]
        if any(there):
            have, lack = layout.paths(split)[there.index(True)], layout.paths(split)[there.index(False)]
            raise UserError(f"{shown(lack)}: no such directory, but there is {shown(have)}; add one or take one away")


def pair_by_stem(folders: Sequence[epath.Path], root: epath.Path) -> dict[str, list[epath.Path]]:
    """Stem -> its file in every folder, in natural order. Raises UserError for files without partners."""
    by_stem = [_by_stem(folder, root) for folder in folders]
    for folder, here in zip(folders, by_stem, strict=True):
        for other, there in zip(folders, by_stem, strict=True):
            alone = [there[stem].name for stem in there.keys() - here.keys()]
            if alone:
                raise _unpaired(alone, other, folder)
    if not by_stem[0]:
        kinds = " ".join(sorted(images.EXTENSIONS))
        raise UserError(f"{shown(folders[0])}: holds no images ({kinds}); put them there, named as their partners")
    return {stem: [here[stem] for here in by_stem] for stem in by_stem[0]}


def _unpaired(alone: list[str], there: epath.Path, missing: epath.Path) -> UserError:
    names = ", ".join(shown(name) for name in sorted(alone, key=_order)[:3]) + ", ..." * (len(alone) > 3)
    return UserError(
        f"{shown(there)}: {len(alone)} file{'s have' if len(alone) > 1 else ' has'} no partner of the same name in "
        f"{shown(missing)}: {names}; delete or add them"
    )


def _by_stem(folder: epath.Path, root: epath.Path) -> dict[str, epath.Path]:
    found: dict[str, epath.Path] = {}
    for file in list_images(folder, root):
        stem = unicodedata.normalize("NFC", os.path.splitext(file.name)[0])  # macOS takes letters and accents apart
        if stem in found:
            raise UserError(
                f"{shown(file)}: has the name of {shown(found[stem].name)} beside it, so its partner is unclear; "
                "delete or rename one"
            )
        found[stem] = file
    return found


def list_images(folder: epath.Path, root: epath.Path | None = None) -> list[epath.Path]:
    """The image files in a folder, by their names, in natural order; hidden ones are left out.

    Raises:
      UserError: one is a link to nothing or out of `folder` and `root`.
    """
    if not folder.is_dir():
        return []
    named = [f for f in folder.iterdir() if is_image_name(f.name)]
    inside = [os.path.realpath(place) + os.sep for place in (folder, root or folder)]
    for file in named:
        if os.path.islink(file):
            _check_link(file, inside)
    return sorted((f for f in named if f.is_file()), key=lambda f: _order(f.name))


def _check_link(file: epath.Path, inside: Iterable[str]) -> None:
    target = os.path.realpath(file)
    if not os.path.exists(target):
        raise UserError(f"{shown(file)}: a link to {shown(target)}, which does not exist; delete or mend it")
    if not target.startswith(tuple(inside)):
        raise UserError(f"{shown(file)}: a link out of the folder, to {shown(target)}; copy the file there instead")


def is_image_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in images.EXTENSIONS and not name.startswith(".")


def _order(name: str) -> tuple:
    return natural_key(name), name  # 1.jpg and 01.jpg are the same number


def natural_key(name: str) -> list:
    """Sorts 2.jpg before 10.jpg."""
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in re.split(r"([0-9]+)", name)]
