"""Translates image files to image files."""

import collections
import dataclasses
import itertools
import os
from collections.abc import Sequence
from concurrent import futures

import numpy as np
from etils import epath

from pix2pix_jax.configuration import build_data
from pix2pix_jax.data.files import images, listing
from pix2pix_jax.data.files.value_range import fit_range, fitted
from pix2pix_jax.data.sources.folder_sources import check_pair_size, decode_stack
from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.inference import large_files
from pix2pix_jax.inference.native import Size, Tile
from pix2pix_jax.inference.trained_model import TrainedModel
from pix2pix_jax.io import storage
from pix2pix_jax.runtime import console
from pix2pix_jax.runtime.console import bar

_LOSS = 1.5  # how many times larger than the model's size a picture loses visible detail


@dataclasses.dataclass(frozen=True)
class _Input:
    """Holds one input: its file, or the files that are stacked to it, and its name below the source."""

    files: tuple[epath.Path, ...]
    name: str


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """Holds an input's image and notes on its files, or the error for which there is no image."""

    image: np.ndarray | None = None  # (H, W, C), in the value range of the model's inputs
    large: epath.Path | None = None  # a file that is not read whole
    notes: tuple[str, ...] = ()
    error: str = ""


def translate_files(
    model: TrainedModel,
    source: str,
    output: epath.PathLike,
    *,
    seed: int = 0,
    pairs: str = "auto",
    size: Size = "model",
    tile: Tile = "auto",
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
      size: as in `TrainedModel.translate`. At size "native" a TIFF need not fit into memory.
      tile: likewise.

    Returns:
      The files written.

    Raises:
      UserError: there is no such file, there are no images, or the output cannot be written. Files that cannot be used
        are listed, and raise it after all others have been translated.
    """
    names = _output_names(_find(source, model), model)
    output = storage.folder(output)
    _check_apart(names, output)
    written, notes, errors = [], collections.Counter(), []
    with futures.ThreadPoolExecutor(4) as pool, bar(total=len(names), unit="image") as progress:
        loaded = pool.map(lambda item: _load(model, item, pairs, size), names)  # decodes ahead of the device
        items = zip(names.values(), loaded, strict=True)
        while batch := list(itertools.islice(items, model.batch_size)):
            usable = [(name, item.image) for name, item in batch if item.image is not None]
            results = model.translate_each([image for _, image in usable], seed=seed, size=size, tile=tile)
            written += [_write(output / name, result) for (name, _), result in zip(usable, results, strict=True)]
            for name, large in [(name, item.large) for name, item in batch if item.large]:
                if error := _translate_large(model, large, output / name, seed=seed, tile=tile):
                    errors.append(error)
                else:
                    written.append(output / name)
            notes.update(note for _, item in batch for note in item.notes)
            errors += [item.error for _, item in batch if item.error]
            progress.update(len(batch))
    for note, count in notes.items():
        console.log(f"note: {count} of {len(names)} files {note}")
    if errors and len(names) == 1:
        raise UserError(errors[0])
    if errors:
        reason = console.log_all("not translated:", errors)
        raise UserError(f"{reason}; translated {len(written)} of {len(names)} files")
    return written


def _find(source: str, model: TrainedModel) -> list[_Input]:
    """Lists the inputs at `source`, in natural order."""
    members = model.config.a_folders if model.config.direction == "AtoB" else model.config.b_folders
    if model.config.dataset == "folder" and len(members) > 1:
        return _find_stacks(epath.Path(source).expanduser(), [str(member) for member in members])
    listed = listing.find_files(source, "--input")
    if listed.note:
        console.log(f"note: {listed.note}")
    inputs = [_Input((path,), name) for path, name in listed.files.items()]
    return sorted(inputs, key=lambda item: listing.natural_key(item.name))


def _find_stacks(folder: epath.Path, members: Sequence[str]) -> list[_Input]:
    places = [folder / member for member in members]
    for place in places:
        if not place.is_dir():
            wanted = ", ".join(members)
            raise UserError(f"--input={printable(folder)}: must hold the folders {wanted}, and lacks {place.name}")
    stacks = listing.pair_by_stem(places, folder)
    return [_Input(tuple(files), files[0].name) for files in stacks.values()]


def _output_names(inputs: Sequence[_Input], model: TrainedModel) -> dict[_Input, str]:
    """Maps inputs to names of outputs: a.jpg becomes a.png; a.jpg and a.bmp together become a.jpg.png and a.bmp.png."""
    endings = {item: _extension(item.name, model) for item in inputs}
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


def _load(model: TrainedModel, item: _Input, pairs: str, size: Size) -> _Loaded:
    try:
        if size == "native" and len(item.files) == 1 and large_files.is_large(item.files[0]):
            return _Loaded(large=item.files[0])
        return _read(model, item, pairs, size)
    except UserError as error:
        return _Loaded(error=str(error))


def _read(model: TrainedModel, item: _Input, pairs: str, size: Size) -> _Loaded:
    """Reads an input. Raises UserError if its file cannot be used."""
    name, values, notes = str(item.files[0]), model.input_values, []
    if any(images.read_header(file).animated for file in item.files):
        notes.append("are animations: translated their first frames")
    stored = decode_stack(item.files, model.config.input_channels)
    if note := fitted(str(stored.dtype), values):
        notes.append(f"hold {note}")
    image = fit_range(stored, values.dtype, values.limits, printable(name))
    height, width = model.config.image_size
    # Photographs to colour and stacked files are never pairs.
    looks_like_pair = (
        not build_data.color_space(model.config).colorizes
        and len(item.files) == 1
        and image.shape[1] * height == 2 * image.shape[0] * width
    )
    if pairs == "yes" or (pairs == "auto" and looks_like_pair):
        _, half = check_pair_size(image.shape[:2], name)
        side, image = ("left", image[:, :half]) if model.config.direction == "AtoB" else ("right", image[:, half:])
        notes.append(f"are A|B pairs: translated their {side} halves (--pairs=no takes all of it)")
    sides = zip(image.shape, build_data.inference_size(model.config, image.shape[:2]), strict=False)
    if size == "model" and any(own > _LOSS * taken for own, taken in sides):
        notes.append("are much larger than the model's images and lose detail (--size=native keeps it)")
    return _Loaded(image, notes=tuple(notes))


def _translate_large(model: TrainedModel, source: epath.Path, output: epath.Path, *, seed: int, tile: Tile) -> str:
    """Translates a file that is not read whole; returns what is wrong with it, or ""."""
    try:
        large_files.translate(model, source, output, seed=seed, tile=tile)
    except UserError as error:
        return str(error)
    except OSError as error:
        raise _not_written(output, error) from error
    return ""


def _not_written(path: epath.Path, error: OSError) -> UserError:
    return UserError(f"{printable(path)}: cannot be written ({error.strerror}); choose another --output")


def _write(path: epath.Path, image: np.ndarray) -> epath.Path:
    try:
        storage.make_folder(path.parent)
        storage.write(path, images.encode(image, path.suffix))
    except OSError as error:
        raise _not_written(path, error) from error
    return path
