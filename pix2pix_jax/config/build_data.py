"""From a config to its data: the streams "input" and "target", their splits, sizes, dtypes and batches."""

import copy
import dataclasses
from collections.abc import Iterator

from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2pix_jax.config import validate
from pix2pix_jax.data import pipeline, reading
from pix2pix_jax.data.files.value_range import ValueRange, fitted
from pix2pix_jax.data.paired_dataset import WINDOWED, PairedDataset, whole_size
from pix2pix_jax.data.sources.datasets import open_source
from pix2pix_jax.errors import NoSplit, UserError

STREAMS = ("input", "target")


def stream_values(config: ConfigDict) -> dict[str, ValueRange]:
    """What the stored values of "input" and "target" mean. Raises UserError for float32 without a range."""
    return {
        name: ValueRange.of(config[f"{name}_dtype"], config[f"{name}_range"], f"config.{name}_range")
        for name in STREAMS
    }


def resolve_dtypes(config: ConfigDict, pairs: PairedDataset) -> ConfigDict:
    """The config with the dtypes of its streams where they are "auto": what holds the values of all files of `pairs`,
    the training split.

    Raises:
      UserError: a file is no image, or values are float32 and no range is set; the message has the one that was found.
    """
    config = copy.deepcopy(config)
    if "auto" in (config.input_dtype, config.target_dtype):
        for name, dtype in zip(STREAMS, pairs.sides(pairs.source.dtypes()), strict=True):
            if config[f"{name}_dtype"] == "auto":
                config[f"{name}_dtype"] = dtype
    for i, name in enumerate(STREAMS):
        if config[f"{name}_dtype"] == "float32" and config[f"{name}_range"] is None:
            first = [pairs.sides(pairs.source.pair(j, (None, None)))[i] for j in range(min(8, len(pairs)))]
            low, high = min(float(x.min()) for x in first), max(float(x.max()) for x in first)
            raise range_unset(name, low, high, f"the first {len(first)} files")
    return config


def range_unset(name: str, low: float, high: float, where: str) -> UserError:
    """The error of stream `name`, float32 values from `low` to `high` in `where`, whose range is not set."""
    return UserError(
        f"config.{name}_range: unset, but the {name}s are float32, in {where} from {low:g} to {high:g}; say which "
        f"values become -1 and 1: --config.{name}_range={low:g},{high if high > low else low + 1:g}"
    )


def fitted_files(config: ConfigDict, pairs: PairedDataset) -> list[str]:
    """Notes of the streams whose files are of another dtype than the config's, and what becomes of their values."""
    values = stream_values(config)
    if all(v.is_integer and config[f"{name}_range"] is None for name, v in values.items()):
        return []  # without a look at all headers
    found = zip(STREAMS, pairs.sides(pairs.source.dtypes()), strict=True)
    notes = {name: fitted(dtype, values[name]) for name, dtype in found}
    return [f"note: the {name} files hold {note}" for name, note in notes.items() if note]


def with_dtypes(pairs: PairedDataset, config: ConfigDict) -> PairedDataset:
    """The pairs in the dtypes and ranges of a config."""
    values = stream_values(config)
    return dataclasses.replace(
        pairs,
        **{f"{name}_dtype": v.dtype for name, v in values.items()},
        **{f"{name}_range": v.limits for name, v in values.items()},
    )


def _open_at_load_size(config: ConfigDict) -> PairedDataset:
    drawn = config.resize_size if config.preprocess in ("resize_and_crop", *WINDOWED) else config.image_size
    return at_load_size(config, open_pairs(config, "train", size=tuple(drawn)))


def at_load_size(config: ConfigDict, pairs: PairedDataset) -> PairedDataset:
    """The pairs of the training split at the size that `config.preprocess` gives them."""
    size = tuple(config.resize_size if config.preprocess == "resize_and_crop" else config.image_size)
    return dataclasses.replace(pairs, preprocess=config.preprocess, size=size)


def build_batches(
    config: ConfigDict, pairs: PairedDataset, mesh: Mesh, *, start: int, residency: str
) -> Iterator[pipeline.Batch]:
    """The global batches of steps start, start + 1, ..."""
    return pipeline.batches(
        pairs,
        mesh,
        batch_size=config.batch_size,
        seed=config.seed,
        start=start,
        residency=residency,
        num_workers=reading.choose_workers(pairs, config.num_workers),
        resize_on_device=pipeline.can_resize_on_device(mesh),
    )


def open_pairs(config: ConfigDict, split: str, *, size: tuple[int, int] | None = None) -> PairedDataset:
    """Opens a split, its images resized to `size`; by default as evaluation takes them.

    That is at the model's own size, to which they are resized, or out of whose middle they are cut where
    `config.preprocess` crops images of their own scale.
    """
    cropped = size is None and config.preprocess in WINDOWED
    colorize = config.color_space == "lab"
    source = open_source(
        config.dataset,
        split,
        data_dir=config.data_dir,
        data_url=config.data_url,
        size=tuple(config.resize_size) if cropped else size or tuple(config.image_size),
        seed=config.seed,
        single=colorize,
        a_folders=config.a_folders,
        b_folders=config.b_folders,
    )
    return PairedDataset(
        source=source,
        direction=config.direction,
        size=size or tuple(config.image_size),
        input_channels=config.input_channels,
        target_channels=config.target_channels,
        colorize=colorize,
        preprocess=config.preprocess if cropped else "resize_and_crop",
        width=config.resize_size[1],
        multiple=validate.size_multiple(config),
        centred=cropped,
        **{field: config[field] for field in ("input_interpolation", "target_interpolation")},
        **{f"{name}_dtype": config[f"{name}_dtype"].replace("auto", "uint8") for name in STREAMS},
        **{f"{name}_range": None if config[f"{name}_dtype"] == "auto" else config[f"{name}_range"] for name in STREAMS},
    )


def inference_size(config: ConfigDict, own: tuple[int, int]) -> tuple[int, int]:
    """The (H, W) at which an image of size `own` goes through the generator."""
    return whole_size(
        own,
        config.preprocess,
        size=tuple(config.image_size),
        width=config.resize_size[1],
        multiple=validate.size_multiple(config),
    )


def open_training(config: ConfigDict) -> tuple[ConfigDict, PairedDataset]:
    """(the config with its dtypes resolved, the training split at load size).

    Raises:
      UserError: no such data, they do not fit the config, or float32 values lack a range.
    """
    pairs = _open_at_load_size(config)
    config = resolve_dtypes(config, pairs)
    pairs = with_dtypes(pairs, config)
    pairs[0]  # a config of other channels than the files' is refused here, before anything is written
    return config, pairs


def open_pairs_if_any(config: ConfigDict, split: str, *, size: tuple[int, int] | None = None) -> PairedDataset | None:
    """As `open_pairs`; None if the data have no such split."""
    try:
        return open_pairs(config, split, size=size)
    except NoSplit:
        return None
    except UserError:
        if config.dataset == "folder":
            raise
        return None
