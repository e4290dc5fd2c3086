"""Translates image files to image files."""

import collections
import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent import futures

import numpy as np
from etils import epath

from pix2pix_jax.config import build_data
from pix2pix_jax.data.files import images, listing
from pix2pix_jax.data.files.picture_files import find_files
from pix2pix_jax.data.files.value_range import fit_range, fitted
from pix2pix_jax.data.sources import folders
from pix2pix_jax.data.sources.folder_sources import check_pair_size, decode_stack
from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.inference.trained_model import TrainedModel
from pix2pix_jax.io import storage
from pix2pix_jax.runtime import console
from pix2pix_jax.runtime.console import bar


@dataclasses.dataclass(frozen=True)
class _Input:
    """Holds one input: its file, or the files that are stacked to it, and its name below the source."""

    files: tuple[epath.Path, ...]
    name: str


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """Holds an input's image, or the error for which there is none."""

    image: np.ndarray | None = None  # (H, W, C), in the value range of the model's inputs
    dtype: str = ""  # of the file
    halved: bool = False  # whether it is half of an A|B pair
    animated: bool = False  # whether it is the first of several frames
    error: str = ""  # why the file cannot be used; "" if it can


def translate_files(
    model: TrainedModel, source: str, output: epath.PathLike, *, seed: int = 0, pairs: str = "auto"
) -> list[epath.Path]:
    """Translates image files; each result is named after its input and has its size.

    Results hold the values of the model's targets: PNG of 8 or 16 bits, or TIFF if PNG cannot hold them (floats, 2 or
    more than 4 channels). A TIFF gives a TIFF, a .npy a .npy.

    Args:
      model: the trained model.
      source: a file, a folder (with its subfolders) or a glob pattern; for a model of several stacked folders, the
        folder that holds these.
      output: the folder of the results, made if it does not exist; it gets the subfolders of `source`.
      seed: seed of dropout.
      pairs: "yes" takes the input half of each file, a side-by-side A|B pair as in training; "no" takes whole files;
        "auto" halves those of which each half has the shape of the model's images.

    Returns:
      The files written.

    Raises:
      UserError: there is no such file, there are no images, or the output cannot be written. Files that cannot be used
        are listed, and raise it after all others have been translated.
    """
    names = _output_names(_find(source, model), model)
    output = storage.folder(output)
    _check_apart(names, output)
    written, done = [], []
    with futures.ThreadPoolExecutor(4) as pool, bar(total=len(names), unit="image") as progress:
        loaded = pool.map(lambda item: _load(model, item, pairs), names)  # decodes ahead of the device
        for batch in _batched(zip(names.values(), loaded, strict=True), model.batch_size):
            usable = [(name, item.image) for name, item in batch if not item.error]
            results = model.translate_each([image for _, image in usable], seed=seed)
            written += [_write(output / name, result) for (name, _), result in zip(usable, results, strict=True)]
            done += [dataclasses.replace(item, image=None) for _, item in batch]
            progress.update(len(batch))
    _report(model, done, len(written))
    return written


def _report(model: TrainedModel, done: Sequence[_Loaded], num_written: int) -> None:
    """Prints notes on the inputs. Raises UserError if some could not be used."""
    if halved := sum(item.halved for item in done):
        side = "left" if model.config.direction == "AtoB" else "right"
        console.log(
            f"{halved} of {len(done)} files are A|B pairs: translated their {side} halves (--pairs=no takes all of it)"
        )
    if animated := sum(item.animated for item in done):
        console.log(f"{animated} of {len(done)} files are animations: translated their first frames")
    for note, count in collections.Counter(fitted(item.dtype, model.input_values) for item in done).items():
        if note:
            console.log(f"note: {count} of {len(done)} files hold {note}")
    errors = [item.error for item in done if item.error]
    if not errors:
        return
    if len(done) == 1:
        raise UserError(errors[0])
    console.log("not translated:")
    for error in errors:
        console.log(f"  {error}")
    more = f" (and {len(errors) - 1} more files, listed above)" if len(errors) > 1 else ""
    raise UserError(f"{errors[0]}{more}; translated {num_written} of {len(done)} files")


def _find(source: str, model: TrainedModel) -> list[_Input]:
    """Lists the inputs at `source`, in natural order."""
    members = model.config.a_folders if model.config.direction == "AtoB" else model.config.b_folders
    if model.config.dataset == "folder" and len(members) > 1:
        return _find_stacks(epath.Path(source).expanduser(), [str(member) for member in members])
    found = find_files(source, "--input")
    if found.note:
        console.log(f"note: {found.note}")
    inputs = [_Input((path,), name) for path, name in found.files.items()]
    return sorted(inputs, key=lambda item: listing.natural_key(item.name))


def _find_stacks(folder: epath.Path, members: Sequence[str]) -> list[_Input]:
    places = [folder / member for member in members]
    for place in places:
        if not place.is_dir():
            raise UserError(
                f"--input={printable(folder)}: must hold the folders {', '.join(members)}, and lacks {place.name}"
            )
    stacks = folders.pair_by_stem(places, folder)
    return [_Input(tuple(files), files[0].name) for files in stacks.values()]


def _output_names(found: Sequence[_Input], model: TrainedModel) -> dict[_Input, str]:
    """Maps inputs to names of outputs: a.jpg becomes a.png; a.jpg and a.bmp together become a.jpg.png and a.bmp.png."""
    endings = {item: _extension(item.name, model) for item in found}
    short = {item: os.path.splitext(item.name)[0] + ending for item, ending in endings.items()}
    count = collections.Counter(short.values())
    names = {item: name if count[name] == 1 else item.name + endings[item] for item, name in short.items()}
    if len(set(names.values())) < len(names):
        raise UserError("--input: matches files of the same name in several folders; translate them folder by folder")
    return names


def _extension(name: str, model: TrainedModel) -> str:
    own = os.path.splitext(name)[1].lower()
    if own in (".tif", ".tiff", ".npy"):
        return own
    return ".png" if model.target_values.is_integer and model.config.target_channels in (1, 3, 4) else ".tif"


def _check_apart(names: dict[_Input, str], output: epath.Path) -> None:
    inputs = {path.resolve() for item in names for path in item.files}
    for name in names.values():
        if (output / name).resolve() in inputs:
            raise UserError(
                f"--output={printable(output)}: would overwrite the input {printable(name)}; choose another folder"
            )


def _load(model: TrainedModel, item: _Input, pairs: str) -> _Loaded:
    try:
        return _read(model, item, pairs)
    except UserError as error:
        return _Loaded(error=str(error))


def _read(model: TrainedModel, item: _Input, pairs: str) -> _Loaded:
    """Reads an input. Raises UserError if its file cannot be used."""
    name, values = str(item.files[0]), model.input_values
    animated = any(images.read_header(file, str(file)).animated for file in item.files)
    stored = decode_stack(item.files, model.config.input_channels)
    image = fit_range(stored, values.dtype, values.limits, printable(name))
    loaded = _Loaded(image, dtype=str(stored.dtype), animated=animated)
    height, width = model.config.image_size
    # Photographs to colour and stacked files are never pairs.
    looks_like_pair = (
        not build_data.color_space(model.config).colorizes
        and len(item.files) == 1
        and image.shape[1] * height == 2 * image.shape[0] * width
    )
    if pairs == "no" or (pairs == "auto" and not looks_like_pair):
        return loaded
    _, half = check_pair_size(image.shape[:2], name)
    half_image = image[:, :half] if model.config.direction == "AtoB" else image[:, half:]
    return dataclasses.replace(loaded, image=half_image, halved=True)


def _batched(items: Iterator, size: int) -> Iterator[Sequence]:
    while batch := list(itertools.islice(items, size)):
        yield batch


def _write(path: epath.Path, image: np.ndarray) -> epath.Path:
    try:
        storage.make_folder(path.parent)
        storage.write(path, images.encode(image, path.suffix))
    except OSError as error:
        raise UserError(f"{printable(path)}: cannot be written ({error.strerror}); choose another --output") from error
    return path
