"""Files in, files out."""

import glob
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent import futures

import numpy as np
from etils import epath
from tqdm import tqdm

from pix2pix_jax.data import images
from pix2pix_jax.data.folder_sources import check_pair_size
from pix2pix_jax.data.folders import natural_key
from pix2pix_jax.data.values import to_uint8
from pix2pix_jax.errors import UserError
from pix2pix_jax.inference import TrainedModel
from pix2pix_jax.logs import say

PAIRS = ("auto", "yes", "no")


def translate_files(
    model: TrainedModel, source: str, output: epath.PathLike, *, seed: int = 0, pairs: str = "auto"
) -> list[epath.Path]:
    """Translates image files; each result is a PNG named after its input, at its input's size.

    Args:
      model: the trained generator.
      source: a file, a folder (with its subfolders) or a glob pattern.
      output: the folder of the results, created if need be; subfolders are kept.
      seed: of dropout.
      pairs: whether the files are side-by-side A|B pairs as in training, of which the input half is taken: "yes", "no",
        or "auto", for those whose halves have the shape of the model's images.

    Returns:
      The files written.

    Raises:
      UserError: no such file, no images there, one that is unreadable, or an output that cannot be written; what was
        written before stays.
    """
    names = _output_names(_find(source))
    output = epath.Path(output).expanduser()
    _check_apart(names, output)
    written, halved = [], 0
    with futures.ThreadPoolExecutor(4) as pool, tqdm(total=len(names), unit="image", dynamic_ncols=True) as bar:
        loaded = pool.map(lambda path: _load(model, path, pairs), names)  # decodes ahead of the device
        for batch in _batched(zip(names, loaded, strict=True), model.batch_size):
            inputs = np.stack([images.resize(image, tuple(model.config.image_size)) for _, (image, _) in batch])
            results = np.asarray(to_uint8(model.translate_resized(inputs, seed=seed)))
            for (path, (image, is_pair)), result in zip(batch, results, strict=True):
                written.append(_write(output / names[path], images.resize(result, image.shape[:2])))
                halved += is_pair
            bar.update(len(batch))
    if halved:
        side = "left" if model.config.direction == "AtoB" else "right"
        say(
            f"{halved} of {len(names)} files are A|B pairs: translated their {side} halves (--pairs=no takes all of it)"
        )
    return written


def _find(source: str) -> dict[epath.Path, str]:
    """Image file -> its name below `source`, in natural order."""
    path = epath.Path(source).expanduser()
    if path.is_file():
        return {path: path.name}
    if path.is_dir():
        found = {f: os.path.relpath(f, path) for f in _walk(path)}
    else:
        found = {epath.Path(f): os.path.basename(f) for f in glob.glob(os.fspath(path), recursive=True)}
        found = {f: name for f, name in found.items() if _is_image(f)}
        if not found and not glob.has_magic(source):
            raise UserError(f"--input={source}: no such file or directory")
    if not found:
        kinds = " ".join(sorted(images.EXTENSIONS))
        raise UserError(f"--input={source}: no images there ({kinds})")
    return dict(sorted(found.items(), key=lambda item: natural_key(item[1])))


def _walk(folder: epath.Path) -> Iterator[epath.Path]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from _walk(path)
        elif _is_image(path):
            yield path


def _is_image(path: epath.Path) -> bool:
    return path.suffix.lower() in images.EXTENSIONS and not path.name.startswith(".") and path.is_file()


def _output_names(found: dict[epath.Path, str]) -> dict[epath.Path, str]:
    """Input file -> output name: a.jpg becomes a.png, but a.jpg and a.bmp together a.jpg.png and a.bmp.png."""
    short = {path: os.path.splitext(name)[0] + ".png" for path, name in found.items()}
    taken = list(short.values())
    names = {path: name if taken.count(name) == 1 else found[path] + ".png" for path, name in short.items()}
    if len(set(names.values())) < len(names):
        raise UserError("--input: matches files of the same name in several folders; translate them folder by folder")
    return names


def _check_apart(names: dict[epath.Path, str], output: epath.Path) -> None:
    inputs = {path.resolve() for path in names}
    for name in names.values():
        if (output / name).resolve() in inputs:
            raise UserError(f"--output={output}: would overwrite the input {name}; choose another folder")


def _load(model: TrainedModel, path: epath.Path, pairs: str) -> tuple[np.ndarray, bool]:
    """(the input image uint8 (H, W, C), whether it was half of a pair)."""
    image = images.decode(path.read_bytes(), str(path), model.config.input_channels)
    height, width = model.config.image_size
    photographs = model.config.color_space == "lab"  # these come alone
    looks_like_pair = not photographs and image.shape[1] * height == 2 * image.shape[0] * width
    if pairs == "no" or (pairs == "auto" and not looks_like_pair):
        return image, False
    _, half = check_pair_size(image.shape[:2], str(path))
    return image[:, :half] if model.config.direction == "AtoB" else image[:, half:], True


def _batched(items: Iterator, size: int) -> Iterator[Sequence]:
    while batch := list(itertools.islice(items, size)):
        yield batch


def _write(path: epath.Path, image: np.ndarray) -> epath.Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images.encode_png(image))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another --output") from error
    return path
