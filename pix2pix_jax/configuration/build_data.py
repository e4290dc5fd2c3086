"""Builds the data from a config: the streams "input" and "target", their splits, sizes, dtypes and batches."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2pix_jax.data import device_resizing, pipeline, reading
from pix2pix_jax.data.color import COLOR_SPACES, Rgb
from pix2pix_jax.data.files.value_range import ValueRange, fitted
from pix2pix_jax.data.paired_dataset import NATIVE, WINDOWED, PairedDataset, sides, whole_size
from pix2pix_jax.data.sources.datasets import Source, open_source
from pix2pix_jax.data.sources.given import GIVEN
from pix2pix_jax.errors import NoSplit, UserError

STREAMS = ("input", "target")


def color_space(config: ConfigDict) -> Rgb:
    """Returns the rules by which the networks see the images of a config."""
    return COLOR_SPACES[config.color_space]


def stream_values(config: ConfigDict) -> dict[str, ValueRange]:
    """Returns the value ranges of "input" and "target". Raises UserError for float32 without a range."""
    return {
        name: ValueRange.of(config[f"{name}_dtype"], config[f"{name}_range"], f"config.{name}_range")
        for name in STREAMS
    }


def resolve_dtypes(config: ConfigDict, source: Source) -> ConfigDict:
    """Replaces each stream's dtype "auto" by the smallest dtype that holds the values of all files of `source`.

    Raises UserError if a file is no image, or values are float32 and no range is set; the message gives theirs.
    """
    config = copy.deepcopy(config)
    if "auto" in (config.input_dtype, config.target_dtype):
        for name, dtype in zip(STREAMS, sides(source.dtypes(), config.direction), strict=True):
            if config[f"{name}_dtype"] == "auto":
                config[f"{name}_dtype"] = dtype
    for i, name in enumerate(STREAMS):
        if config[f"{name}_dtype"] == "float32" and config[f"{name}_range"] is None:
            count = min(8, len(source.names))
            first = [sides(source.pair(j, (None, None)), config.direction)[i] for j in range(count)]
            low, high = min(float(x.min()) for x in first), max(float(x.max()) for x in first)
            raise range_unset(name, low, high, f"the first {count} files")
    return config


def range_unset(name: str, low: float, high: float, where: str) -> UserError:
    """Makes the error for stream `name`, whose values in `where` are float32 from `low` to `high` and have no range."""
    return UserError(
        f"config.{name}_range: unset, but the {name}s are float32, in {where} from {low:g} to {high:g}; say which "
        f"values become -1 and 1: --config.{name}_range={low:g},{high if high > low else low + 1:g}"
    )


def fitted_files(config: ConfigDict, pairs: PairedDataset) -> list[str]:
    """Notes how values are converted of each stream whose files have another dtype than the config."""
    values = stream_values(config)
    if all(v.is_integer and config[f"{name}_range"] is None for name, v in values.items()):
        return []  # without a look at all headers
    dtypes = zip(STREAMS, pairs.sides(pairs.source.dtypes()), strict=True)
    notes = {name: fitted(dtype, values[name]) for name, dtype in dtypes}
    return [f"note: the {name} files hold {note}" for name, note in notes.items() if note]


def build_batches(
    config: ConfigDict,
    pairs: PairedDataset,
    mesh: Mesh,
    *,
    start: int,
    residency: str,
    while_loading: Callable[[int], None] = lambda step: None,
) -> Iterator[pipeline.Batch]:
    """Yields the global batches of steps start, start + 1, ...; see `pipeline.batches`."""
    # What a program hands over may not go to other processes, unless it says so.
    setting = max(config.num_workers, 0) if config.dataset == GIVEN else config.num_workers
    num_workers = reading.choose_workers(pairs, setting)
    if residency == "host":
        pairs = device_resizing.defer(pairs, mesh)
    return pipeline.batches(
        pairs,
        mesh,
        batch_size=config.batch_size,
        seed=config.seed,
        start=start,
        residency=residency,
        num_workers=num_workers,
        while_loading=while_loading,
    )


def open_pairs(
    config: ConfigDict, split: str, *, size: tuple[int, int] | None = None, data: Any = None
) -> PairedDataset:
    """Opens a split with all images resized to (H, W) `size`, by default as evaluation takes them.

    Evaluation takes images at the model's own size. They are resized to it, or where `config.preprocess` crops images
    of their own scale, cut out of the middle. `data` are the pairs of dataset `given`; see `sources.given.open_given`.

    Raises UserError if the data do not exist: NoSplit where only the split is missing.
    """
    cropped = size is None and config.preprocess in WINDOWED
    size = size or tuple(config.image_size)
    source = _open_source(config, split, tuple(config.resize_size) if cropped else size, data)
    preprocess = config.preprocess if cropped else "resize_and_crop"
    return make_pairs(config, source, size=size, preprocess=preprocess, centred=cropped)


def open_native(config: ConfigDict, split: str, *, data: Any = None) -> PairedDataset:
    """Opens a split with each image at its own size; `size` is that of the first. Raises UserError as `open_pairs`."""
    source = _open_source(config, split, tuple(config.image_size), data)
    return make_pairs(config, source, size=source.header(0)[0].size, preprocess=NATIVE)


def open_pairs_if_any(
    config: ConfigDict, split: str, *, size: tuple[int, int] | None = None, data: Any = None
) -> PairedDataset | None:
    """Opens a split like `open_pairs`, or returns None if the data have no such split."""
    try:
        return open_pairs(config, split, size=size, data=data)
    except UserError as error:
        if config.dataset in ("folder", GIVEN) and not isinstance(error, NoSplit):
            raise
        return None


def open_training(config: ConfigDict, data: Any = None) -> tuple[ConfigDict, PairedDataset]:
    """Opens the training split; returns (config with its dtypes resolved, pairs at load size).

    Raises UserError if the data do not exist or do not fit the config, or float32 values lack a range.
    """
    resized = config.preprocess in ("resize_and_crop", *WINDOWED)
    drawn_size = tuple(config.resize_size if resized else config.image_size)
    source = _open_source(config, "train", drawn_size, data)
    config = resolve_dtypes(config, source)
    pairs = training_pairs(config, source)
    pairs[0]  # a config of other channels than the files' is refused here, before anything is written
    return config, pairs


def training_pairs(config: ConfigDict, source: Source) -> PairedDataset:
    """Makes pairs at load size, at which the host hands them to the train step."""
    size = tuple(config.resize_size if config.preprocess == "resize_and_crop" else config.image_size)
    return make_pairs(config, source, size=size, preprocess=config.preprocess)


def _open_source(config: ConfigDict, split: str, size: tuple[int, int], data: Any = None) -> Source:
    same = {name: config[name] for name in ("data_dir", "data_url", "seed", "a_folders", "b_folders")}
    return open_source(config.dataset, split, size=size, data=data, single=color_space(config).colorizes, **same)


def make_pairs(
    config: ConfigDict,
    source: Source,
    *,
    size: tuple[int, int],
    preprocess: str = "resize_and_crop",
    centred: bool = False,
) -> PairedDataset:
    """Makes pairs of (H, W) `size`, got by `preprocess`, which may differ from the config's."""
    return PairedDataset(
        source=source,
        direction=config.direction,
        size=size,
        input_channels=config.input_channels,
        target_channels=config.target_channels,
        colorize=color_space(config).colorizes,
        preprocess=preprocess,
        width=config.resize_size[1],
        multiple=size_multiple(config),
        centred=centred,
        input_interpolation=config.input_interpolation,
        target_interpolation=config.target_interpolation,
        input_dtype=config.input_dtype.replace("auto", "uint8"),
        target_dtype=config.target_dtype.replace("auto", "uint8"),
        input_range=None if config.input_dtype == "auto" else config.input_range,
        target_range=None if config.target_dtype == "auto" else config.target_range,
    )


def size_multiple(config: ConfigDict) -> int:
    """Returns the number of which both sides of the generator's images must be multiples."""
    return 2 ** num_downs(config) if config.generator.name == "unet" else 4


def num_downs(config: ConfigDict) -> int:
    """Returns how often the U-Net halves the image: by default as often as `image_size` allows."""
    return config.generator.num_downs or min(config.image_size).bit_length() - 1


def inference_size(config: ConfigDict, own: tuple[int, int]) -> tuple[int, int]:
    """Returns the (H, W) at which an image of size `own` goes through the generator."""
    size, width = tuple(config.image_size), config.resize_size[1]
    return whole_size(own, config.preprocess, size=size, width=width, multiple=size_multiple(config))
