"""Downloads and builds a published set, once."""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from pix2pix_jax.data.builders.pix2pix import Builder, cityscapes
from pix2pix_jax.errors import UserError
from pix2pix_jax.io import storage

_BATCH = 256  # examples; read together they take a third of the time
_VERSION = re.compile(r"\d+\.\d+\.\d+")  # of a data set, the name of its folder


def prepare(
    name: str, *, data_dir: epath.PathLike | None, source: epath.PathLike | None = None, url: str = ""
) -> tfds.core.DatasetBuilder:
    """Returns the builder of a set that is ready to be read, and builds it first if need be.

    A set that is already there is not touched, and nothing asks the network. TFDS builds in a
    folder of its own and renames it at the end, so a build that is killed leaves no set behind.

    Args:
      name: the set's name, such as `facades`.
      data_dir: TFDS' root folder; None is `$TFDS_DATA_DIR` or else `~/tensorflow_datasets`.
      source: the set's archive, or a folder that holds it or its files, to build from instead of
        TFDS' manual folder (`DATA_DIR/downloads/manual`) or the network.
      url: the archive's address (http, https or file) if not the published one.

    Raises:
      UserError: there is no such set, or it cannot be downloaded, read or written, or it is incomplete.
    """
    if name not in Builder.builder_configs:
        names = ", ".join(Builder.builder_configs)
        raise UserError(f"dataset {name!r}: there is no such published set; use one of {names}")
    root = None if data_dir is None else epath.Path(data_dir).expanduser()
    with _no_empty_folders_left(root):
        builder = Builder(config=name, data_dir=root, source=source, url=url)
        if not builder.data_path.exists():
            _build(builder)
            builder = Builder(config=name, data_dir=root)
    _check_prepared(builder)
    return builder


def is_built(name: str, data_dir: epath.PathLike | None) -> bool:
    """Returns whether TFDS holds the set; see `prepare` for the arguments."""
    return Builder(config=name, data_dir=data_dir and epath.Path(data_dir).expanduser()).data_path.exists()


def open_split(
    name: str, split: str, *, data_dir: epath.PathLike | None, url: str = ""
) -> tuple[Sequence[dict[str, Any]], list[str]]:
    """Opens a split (train, val or test) for random access, and prepares the set if need be.

    Args:
      name, url: see `prepare`.
      data_dir: TFDS' root folder, which may hold the set's archive to build from, or that archive; None is TFDS' own.

    Returns:
      (examples by index, whose `image` is the published file's bytes; their names, which are the files' stems).

    Raises:
      UserError: see `prepare`; or there is no such split.
    """
    root, source = None if data_dir is None else epath.Path(data_dir).expanduser(), None
    if root is not None and root.is_file():
        root, source, url = None, root, ""
    elif root is not None:
        _check_root(root, name)
        source = root if _has_archive(root, name) else None
    builder = prepare(name, data_dir=root, source=source, url=url)
    if split not in builder.info.splits:
        raise UserError(f"{name}: has no split {split}, only {', '.join(builder.info.splits)}")
    examples = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    return examples, _read_names(examples, builder.data_path / f"names-{split}.json")


def _read_names(examples: Sequence[dict[str, Any]], path: epath.Path) -> list[str]:
    """Returns the examples' names by index, from the file at `path` if it fits; otherwise tries to write it.

    To ask the examples is to read every image.
    """
    names, count = None, len(examples)
    with contextlib.suppress(OSError, ValueError):
        names = json.loads(path.read_text())
    probes = {i * (count - 1) // 7 for i in range(8 if count else 0)}
    fits = isinstance(names, list) and len(names) == count
    if fits and all(examples[i]["name"].decode() == names[i] for i in probes):
        return names
    batches = (range(first, min(first + _BATCH, count)) for first in range(0, count, _BATCH))
    names = [example["name"].decode() for batch in batches for example in examples.__getitems__(list(batch))]
    with contextlib.suppress(OSError):  # a shared folder that this user may only read
        storage.write(path, json.dumps(names).encode())
    return names


def _check_root(path: epath.Path, name: str) -> None:
    """Refuses a folder of other things, into which nobody wants data sets downloaded."""
    entries = [p for p in path.iterdir() if not p.name.startswith(".")] if path.is_dir() else []
    if not entries or _has_archive(path, name) or any(_is_of_tfds(p) for p in entries):
        return
    raise UserError(
        f"{path}: holds neither {name} (train/ and so on, {name}/, {name}.tar.gz) nor TFDS data sets, and is no place "
        f"to download it to; set config.data_dir to where {name} is, or to a new or empty folder"
    )


def _is_of_tfds(path: epath.Path) -> bool:
    """Returns whether TFDS makes such a folder: for downloads, or for the configs and versions of a data set."""
    below = (p for pattern in ("*", "*/*") for p in path.glob(pattern))
    return path.is_dir() and (path.name in ("downloads", "pix2pix") or any(_VERSION.fullmatch(p.name) for p in below))


def _has_archive(path: epath.Path, name: str) -> bool:
    return (path / f"{name}.tar.gz").is_file() or (name == "cityscapes" and cityscapes.are_in(path))


def _build(builder: Builder) -> None:
    try:
        builder.download_and_prepare()
    except OSError as error:
        if builder.data_path.exists():  # another process was first, and TFDS' last rename failed
            return
        remedy = "make room or choose another data_dir"
        raise UserError(f"{builder.data_path}: cannot be built ({error}); {remedy}") from error


@contextlib.contextmanager
def _no_empty_folders_left(root: epath.Path | None) -> Iterator[None]:
    """Removes the empty folders that were made in `root` if the build fails."""
    made = [folder for folder in (root / "downloads", root / "pix2pix", root) if not folder.exists()] if root else []
    try:
        yield
    except UserError:
        for folder in made:
            for place, _, files in os.walk(folder, topdown=False):
                with contextlib.suppress(OSError):
                    if all(file.endswith(".lock") or place.endswith(".config") for file in files):  # TFDS' own .config
                        for file in files:
                            os.unlink(os.path.join(place, file))
                    os.rmdir(place)
        raise


def _check_prepared(builder: Builder) -> None:
    """Refuses a folder that holds no data set, one that only TensorFlow reads, or one that was cut short."""
    remedy = "delete that folder or choose another data_dir"
    if not builder.is_prepared():
        raise UserError(f"{builder.data_path}: holds no prepared dataset; {remedy}")
    if tfds.core.FileFormat.with_random_access().isdisjoint(builder.info.available_file_formats()):
        stored = builder.info.file_format.value
        raise UserError(f"{builder.data_path}: is stored as {stored}, which takes TensorFlow to read; {remedy}")
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    unconfirmed = {split: counts.get(split) for split in builder.builder_config.unconfirmed}
    expected = builder.builder_config.num_examples | unconfirmed
    if counts != expected:
        raise UserError(f"{builder.data_path}: has {counts} where {expected} are due; {remedy}")
