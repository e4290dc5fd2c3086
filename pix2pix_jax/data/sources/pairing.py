"""Pairs the files of several places by their names."""

import os
import unicodedata
from collections.abc import Mapping, Sequence

from etils import epath

from pix2pix_jax.data.files import listing
from pix2pix_jax.errors import UserError, printable


def pair_by_stem(folders: Sequence[epath.Path], root: epath.Path) -> dict[str, list[epath.Path]]:
    """Pairs the files of folders below `root` as `pair_files` does, in natural order.

    Raises:
      UserError: as `pair_files`, or there are no files.
    """
    files = []
    for folder in folders:
        start = len(os.path.join(folder, ""))
        files.append({file: os.fspath(file)[start:] for file in listing.list_tree(folder, root)})
    if not files[0]:
        raise UserError(f"{listing.no_images(folders[0])}; put them there, named as their partners")
    return pair_files(folders, files)


def pair_files(places: Sequence[epath.Path], files: Sequence[Mapping[epath.Path, str]]) -> dict[str, list[epath.Path]]:
    """Pairs files by their names without extension: {stem: its file in every place}, in the order of the first.

    Where two places have no name in common, an ending that all names of a place share is ignored, such as _A and _B.

    Args:
      places: where the user has the files, for messages.
      files: those of each place, with their names below it.

    Raises:
      UserError: files without partners, or two of the same stem.
    """
    by_stem = list(map(_by_stem, files))
    if any(by_stem[0].keys().isdisjoint(other) for other in by_stem[1:]):
        by_stem = _without_endings(by_stem)
    for place, here in zip(places, by_stem, strict=True):
        for other, there in zip(places, by_stem, strict=True):
            if there.keys() - here.keys():
                raise _unpaired(here, there, place, other)
    return {stem: [here[stem] for here in by_stem] for stem in by_stem[0]}


def _by_stem(files: Mapping[epath.Path, str]) -> dict[str, epath.Path]:
    by_stem: dict[str, epath.Path] = {}
    for file, name in files.items():
        stem = unicodedata.normalize("NFC", os.path.splitext(name)[0])  # macOS takes letters and accents apart
        if stem in by_stem:
            raise UserError(
                f"{printable(file)}: has the name of {printable(by_stem[stem].name)} beside it, so its partner is "
                "unclear; delete or rename one"
            )
        by_stem[stem] = file
    return by_stem


def _without_endings(by_stem: list[dict[str, epath.Path]]) -> list[dict[str, epath.Path]]:
    """Drops the ending that all names of a place share, unless the places still have no name in common."""
    shorter = []
    for files in by_stem:
        names = listing.without_ending(files)
        shorter.append({names[stem]: file for stem, file in files.items()})
    common = set.intersection(*(set(files) for files in shorter)) - {""}
    return shorter if common else by_stem


def _unpaired(
    here: Mapping[str, epath.Path], there: Mapping[str, epath.Path], place: epath.Path, other: epath.Path
) -> UserError:
    """Makes the error for files that are `there`, in `other`, and have no partners `here`, in `place`."""
    alone = [there[stem].name for stem in there.keys() - here.keys()]
    remedy = "delete or add them"
    if here.keys().isdisjoint(there):
        remedy = "no two names agree, and pairs are found by their names, but for an ending that all of one side have"
    if hint := listing.unreadable(place):
        remedy = f"there is {hint}"
    have = f"{len(alone)} of {len(there)} files ha{'s' if len(alone) == 1 else 've'} no partner of the same name in"
    return UserError(f"{printable(other)}: {have} {printable(place)}: {listing.first_names(alone)}; {remedy}")
