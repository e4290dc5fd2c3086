"""Lists the pictures of folders in natural order, and names the files that are left out."""

import glob
import os
import re
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from etils import epath

from pix2pix_jax.data.files import images
from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.io import storage

_KINDS = " ".join(sorted(images.EXTENSIONS))
# What `describe_left_out` calls a file of each kind, and why it is left out.
_LEFT_OUT = {
    "unreadable": ("picture", " that cannot be read; convert what cannot be read to PNG or JPEG"),
    "picture": ("picture", " outside of the folders that are used"),
    "folder": ("folder", ""),
    "file": ("other file", ""),
}


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
        places = (path, *subfolders(path))
        there = {f: os.path.relpath(f, path) for place in places for f in entries(place) if not f.is_dir()}
    else:
        there = {epath.Path(f): os.path.basename(f) for f in glob.glob(os.fspath(path), recursive=True)}
        if not there and not glob.has_magic(source):
            raise UserError(f"{flag}={printable(source)}: no such file or directory")
    files = {f: name for f, name in there.items() if _is_image_file(f)}
    note = describe_left_out(f for f in there if f not in files and not f.is_dir())
    if not files:
        raise UserError(f"{flag}={printable(source)}: no images there ({_KINDS})" + f"; {note}" * bool(note))
    return ImageFiles(files, note)


def _is_image_file(path: epath.Path) -> bool:
    """Returns whether `path` is an image file; a link to nothing is, so that reading it reports it."""
    return is_image_name(path.name) and (is_file(path) or (os.path.islink(path) and not path.exists()))


def entries(folder: epath.Path) -> list[epath.Path]:
    """Lists all files and folders in a folder. Raises UserError if it cannot be listed."""
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise UserError(f"{printable(folder)}: cannot be listed ({error.strerror}); change its permissions") from error


def list_images(folder: epath.Path, root: epath.Path | None = None) -> list[epath.Path]:
    """Lists the image files in a folder, known by their names, in natural order, without hidden ones.

    Raises:
      UserError: a file is a link to nothing, or to a place outside of `folder` and `root`.
    """
    if not folder.is_dir():
        return []
    named = [f for f in entries(folder) if is_image_name(f.name)]
    inside = [os.path.realpath(place) + os.sep for place in (folder, root or folder)]
    for file in named:
        if os.path.islink(file):
            _check_link(file, inside)
    return sorted((f for f in named if is_file(f)), key=lambda f: _order(f.name))


def list_tree(folder: epath.Path, root: epath.Path) -> list[epath.Path]:
    """Lists the image files in a folder, or if it has none, those in the folders below it, for example one a class."""
    files = list_images(folder, root)
    if files or not folder.is_dir():
        return files
    inside = os.path.realpath(root) + os.sep
    places = [place for place in subfolders(folder) if os.path.realpath(place).startswith(inside)]
    files = [file for place in places for file in list_images(place, root)]
    return sorted(files, key=lambda f: _order(os.path.relpath(f, folder)))


def subfolders(folder: epath.Path) -> Iterator[epath.Path]:
    """Yields the folders below a folder, at any depth, each once however links lead to it; hidden ones are left out."""
    seen, waiting = {os.path.realpath(folder)}, [folder]
    while waiting:
        for path in sorted(entries(waiting.pop()), key=lambda f: f.name):
            if path.is_dir() and not _is_hidden(path.name) and os.path.realpath(path) not in seen:
                seen.add(os.path.realpath(path))
                waiting.append(path)
                yield path


def _check_link(file: epath.Path, inside: Iterable[str]) -> None:
    target = os.path.realpath(file)
    if not os.path.exists(target):
        raise UserError(f"{printable(file)}: a link to {printable(target)}, which does not exist; delete or mend it")
    if not target.startswith(tuple(inside)):
        raise UserError(f"{printable(file)}: a link out of the folder, to {printable(target)}; copy the file instead")


def is_image_name(name: str) -> bool:
    return _ending(name) in images.EXTENSIONS and not _is_hidden(name)


def is_file(path: epath.Path) -> bool:
    """Returns whether `path` is a regular file. epath takes pipes for files too, and opening a pipe blocks."""
    return os.path.isfile(path) or (not os.path.exists(path) and path.is_file())  # what os does not see is in a bucket


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def no_images(folder: epath.Path) -> str:
    """Begins the error message of a folder without images, and names the pictures in it that cannot be read."""
    hint = unreadable(folder)
    return f"{printable(folder)}: holds no images ({_KINDS})" + f", but {hint}" * bool(hint)


def unreadable(folder: epath.Path) -> str:
    """Describes the pictures of a folder that cannot be read, and what to do; "" if there are none."""
    names = [f.name for f in entries(folder) if _ending(f.name) in images.UNREADABLE] if folder.is_dir() else []
    return f"{_listed('file', names)}, which cannot be read: convert to PNG or JPEG" if names else ""


def left_out(folders: Iterable[epath.Path], used: Collection[epath.Path], known: Iterable[epath.Path] = ()) -> str:
    """Describes the files of a set's folders that it does not use, counted and named; "" if it uses all.

    Looks into `folders` and those of `used`, the files of the set, and leaves out the `known` folders and files.
    """
    places, taken = {os.fspath(folder): folder for folder in folders}, set()
    for file in used:  # epath is slow to spell out a path, so each is asked once
        taken.add(name := os.fspath(file))
        if (place := os.path.dirname(name)) not in places:
            places[place] = file.parent
    for path in (*known, *places.values()):
        taken.update(map(os.fspath, (path, *path.parents)))
    rest = [path for name, place in places.items() for path in entries(place) if f"{name}/{path.name}" not in taken]
    return describe_left_out(rest)


def describe_left_out(paths: Iterable[epath.Path]) -> str:
    """Describes in one line which files and folders were not used, and why; "" if there are none."""
    by_kind: dict[str, list[str]] = {kind: [] for kind in _LEFT_OUT}
    for path in paths:
        by_kind[_kind(path)].append(path.name)
    parts = [_listed(_LEFT_OUT[kind][0], names) + _LEFT_OUT[kind][1] for kind, names in by_kind.items() if names]
    return "ignored " + "; ".join(parts) if parts else ""


def _kind(path: epath.Path) -> str:
    if path.is_dir():
        return "folder"
    if _ending(path.name) in images.UNREADABLE and not _is_hidden(path.name):
        return "unreadable"
    return "picture" if is_image_name(path.name) and is_file(path) else "file"


def _listed(thing: str, names: list[str]) -> str:
    """Formats a count and the first names: 3 files (a.txt, b.txt, c.txt)."""
    return f"{len(names)} {thing}{'s' * (len(names) > 1)} ({first_names(names)})"


def first_names(names: Collection[str]) -> str:
    """Formats the first three names in natural order."""
    return ", ".join(map(printable, sorted(names, key=_order)[:3])) + ", ..." * (len(names) > 3)


def _order(name: str) -> tuple:
    return natural_key(name), name  # 1.jpg and 01.jpg are the same number


def natural_key(name: str) -> list:
    """Returns a sorting key that puts 2.jpg before 10.jpg."""
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in re.split(r"([0-9]+)", name)]


def without_ending(names: Collection[str]) -> dict[str, str]:
    """Drops the ending that all names share, from a separator on: {"1_A": "1", "2_A": "2"}."""
    ending = os.path.commonprefix([name[::-1] for name in names])[::-1]  # noqa: RUF071, letter by letter is meant
    separator = re.search(r"[_\-. ]", ending)
    ending = ending[separator.start() :] if separator else ending.lstrip("0123456789")
    return {name: name.removesuffix(ending) for name in names}
