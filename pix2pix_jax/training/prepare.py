"""Prepares a data set before a run: downloads and builds it, checks every image, and reports what it holds."""

import collections
import copy
import dataclasses
import hashlib
import pathlib
from collections.abc import Iterable, Sequence
from concurrent import futures

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from pix2pix_jax.configuration import build_data
from pix2pix_jax.configuration.build_data import STREAMS
from pix2pix_jax.data import preview
from pix2pix_jax.data.files.high_bit_depth import Header, height_by_width
from pix2pix_jax.data.files.value_range import widest
from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.data.sources.datasets import PUBLISHED
from pix2pix_jax.data.sources.folder_sources import FolderSource
from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.io import storage
from pix2pix_jax.runtime import console

PREVIEW = "prepare-preview.png"
_THREADS = 8
_LISTED = 10  # groups of duplicates that are named
_MEMBERS = 4  # of a group that are named


@dataclasses.dataclass(frozen=True)
class Examined:
    """Holds the facts of one example: header and (lowest, highest) value of input and target, a hash of its pixels."""

    name: str
    headers: tuple[Header, Header]
    limits: tuple[tuple[float, float], tuple[float, float]]
    digest: bytes


def prepare(config: ConfigDict, *, output: epath.PathLike = "") -> epath.Path:
    """Downloads and builds if need be, decodes every image of every split, prints a report and draws a preview.

    Args:
      config: a checked ConfigDict.
      output: the folder to write the preview to, a grid of pairs called PREVIEW; "" is the current folder.

    Returns:
      The path of the preview.

    Raises:
      UserError: no such data, files that cannot be used (all are listed first), or float32 values without a range.
    """
    path = storage.folder(output) / PREVIEW
    if path.parent.exists() and not path.parent.is_dir():  # before all files are read
        raise UserError(f"--output={printable(output)}: a file; give a folder")
    size = tuple(config.resize_size)
    splits = {"train": build_data.open_pairs(config, "train", size=size)}
    splits |= {split: build_data.open_pairs_if_any(config, split, size=size) for split in ("val", "test")}
    usable, errors = {}, []
    for split, pairs in splits.items():
        if pairs is None:
            console.log(f"{split}: none")
            continue
        examined = _examine_all(build_data.training_pairs(config, pairs.source) if split == "train" else pairs, split)
        usable[split] = [x for x in examined if isinstance(x, Examined)]
        errors += (bad := [x for x in examined if isinstance(x, str)])
        _report(split, pairs, usable[split], len(bad))
    _report_not_built(config, splits["train"])
    _report_duplicates(usable)
    if errors:
        raise UserError(errors[0] if len(errors) == 1 else console.log_all("cannot be used:", errors))
    resolved, unset = _resolve(config, usable["train"])
    resized = build_data.make_pairs(resolved, splits["train"].source, size=size)
    preview.write(path, resized, build_data.stream_values(resolved))
    console.log(f"preview: {path}; look whether input and target are the right way round")
    if unset:
        raise unset
    return path


def _report_not_built(config: ConfigDict, pairs: PairedDataset) -> None:
    """Reports that a published set is read from a folder of its files, so that no TFDS data set was built."""
    if config.dataset in PUBLISHED and isinstance(pairs.source, FolderSource):
        folder = pathlib.Path(pairs.source.folder).resolve()
        console.log(
            f"{config.dataset}: read from {printable(folder)} as it is; no TFDS data set was built. "
            f"To build one in DIR: --config.data_dir=DIR --config.data_url={folder.as_uri()}"
        )


def _examine_all(pairs: PairedDataset, split: str) -> list[Examined | str]:
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        examined = pool.map(lambda index: _examine(pairs, index), range(len(pairs)))
        return list(console.bar(examined, total=len(pairs), desc=f"check {split}", unit="pair"))


def _examine(pairs: PairedDataset, index: int) -> Examined | str:
    """Reads the facts of example `index`, or returns the reason why it cannot be used."""
    try:
        headers = pairs.sides(pairs.source.header(index))
        images = pairs.sides(pairs.source.pair(index, pairs.sides((pairs.input_channels, pairs.target_channels))))
        pairs.load_size(index, images[1].shape[:2])
    except UserError as error:
        return str(error)
    limits = tuple((float(image.min()), float(image.max())) for image in images)
    digest = hashlib.blake2b(digest_size=16)
    for image in images:
        digest.update(f"{image.shape} {image.dtype}".encode())
        digest.update(np.ascontiguousarray(image))
    return Examined(pairs.name(index), headers, limits, digest.digest())


def _report(split: str, pairs: PairedDataset, examples: Sequence[Examined], num_errors: int) -> None:
    unusable = f", of which {num_errors} cannot be used" if num_errors else ""
    console.log(f"{split}: {len(pairs)} pair{'s' * (len(pairs) != 1)}{unusable}")
    if note := getattr(pairs.source, "note", ""):
        console.log(f"  {note}")
    if not examples:
        return
    if animated := sum(any(header.animated for header in x.headers) for x in examples):
        console.log(f"  of {animated} pairs a file is an animation, whose first frame is taken")
    for i, (name, place) in enumerate(zip(STREAMS, pairs.sides(pairs.source.places), strict=True)):
        headers = [x.headers[i] for x in examples]
        channels = [f"{h.channels} channel{'s' * (h.channels != 1)}" for h in headers]
        dtypes, (low, high) = [h.dtype for h in headers], _limits(examples, i)
        kinds = f"{_sizes(headers)}; {_counted(channels)}; {_counted(dtypes)}"
        console.log(f"  {name} ({printable(place)}): {kinds}; values {low:g} to {high:g}")
        if widest(dtypes) == "uint16" and 0 < high < 16384:
            console.log(f"    that is little of 65535: --config.{name}_range={low:g},{high:g} would use all of [-1, 1]")
    skewed = [x for x in examples if len({round(h.size[0] / h.size[1], 2) for h in x.headers}) > 1]
    if skewed:
        console.log(f"  of {len(skewed)} pairs input and target have different shapes, as {printable(skewed[0].name)}")


def _limits(examples: Sequence[Examined], stream: int) -> tuple[float, float]:
    """Returns the smallest and largest value of a stream over all examples."""
    return min(x.limits[stream][0] for x in examples), max(x.limits[stream][1] for x in examples)


def _sizes(headers: Sequence[Header]) -> str:
    sizes = collections.Counter(header.size for header in headers)
    if len(sizes) == 1:
        return f"all {height_by_width(*sizes)}"
    smallest, largest = (choose(sizes, key=lambda size: size[0] * size[1]) for choose in (min, max))
    common, count = sizes.most_common(1)[0]
    return (
        f"{len(sizes)} sizes, smallest {height_by_width(smallest)}, largest {height_by_width(largest)}, "
        f"most common {height_by_width(common)} ({count})"
    )


def _counted(values: Iterable[str]) -> str:
    counts = collections.Counter(values).most_common()
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{value} ({count})" for value, count in counts)


def _report_duplicates(usable: dict[str, list[Examined]]) -> None:
    """Names the examples that another split holds too. They would make scores too good."""
    where = collections.defaultdict(list)
    for split, examples in usable.items():
        for example in examples:
            where[example.digest].append((split, example.name))
    shared = [places for places in where.values() if len({split for split, _ in places}) > 1]
    if not shared:
        return
    console.log(f"duplicates: {len(shared)} pairs are in more than one split; keep them in train alone:")
    for places in shared[:_LISTED]:
        console.log("  " + _equal(places))
    if len(shared) > _LISTED:
        console.log(f"  and {len(shared) - _LISTED} more")


def _equal(places: Sequence[tuple[str, str]]) -> str:
    """Formats equal examples as "train: a = val: b"; of many, at least the first of each split and a count."""
    firsts = list({split: (split, name) for split, name in reversed(places)}.values())[::-1]
    named = (firsts + [place for place in places if place not in firsts])[: max(_MEMBERS, len(firsts))]
    text = " = ".join(f"{split}: {printable(name)}" for split, name in named)
    return text + f" = {len(places) - len(named)} more" * (len(places) > len(named))


def _resolve(config: ConfigDict, examples: Sequence[Examined]) -> tuple[ConfigDict, UserError | None]:
    """Completes the config's unset dtypes and ranges from the examples; returns an error for a range to set."""
    config, unset = copy.deepcopy(config), None
    for i, name in enumerate(STREAMS):
        if config[f"{name}_dtype"] == "auto":
            config[f"{name}_dtype"] = widest(x.headers[i].dtype for x in examples)
        if config[f"{name}_dtype"] == "float32" and config[f"{name}_range"] is None:
            low, high = _limits(examples, i)
            unset = unset or build_data.range_unset(name, low, high, "all training files")
            config[f"{name}_range"] = (low, high if high > low else low + 1)
    return config, unset
