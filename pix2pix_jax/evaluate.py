"""A checkpoint against a whole split: numbers, pictures and a gallery."""

import collections
import dataclasses
import json
import math
from collections.abc import Iterator
from concurrent import futures

import jax
import numpy as np
from etils import epath
from tqdm import tqdm

from pix2pix_jax import config as config_lib
from pix2pix_jax import gallery, metrics, storage, streams
from pix2pix_jax.data import color, pipeline
from pix2pix_jax.data.images import encode_png
from pix2pix_jax.data.pairs import Pairs
from pix2pix_jax.data.values import from_float, render, to_float
from pix2pix_jax.errors import UserError
from pix2pix_jax.inference import TrainedModel

COLUMNS = ("input", "output", "target")


@dataclasses.dataclass(frozen=True)
class Result:
    """An evaluation.

    Attributes:
      mean: metric -> mean over the split.
      images: one {"name", "files": {column: path in `folder`}, metric: value} an example.
      folder: the files.
    """

    mean: dict[str, float]
    images: list[dict]
    folder: epath.Path


def evaluate(model: TrainedModel, workdir: epath.PathLike, *, split: str = "val", output: str = "") -> Result:
    """Translates a whole split and compares the translations, rounded as files would be, with the targets.

    Writes metrics.json, images/ and index.html to `WORKDIR/eval/SPLIT-STEP/`, or to `output`. The metrics are l1 (mean
    absolute difference of images in [-1, 1], as the training loss), psnr (dB) and ssim.

    Raises:
      UserError: no such split, or the folder cannot be written.
    """
    pairs = streams.open_pairs(model.config, split)
    folder = storage.folder(output) if output else storage.folder(workdir) / "eval" / f"{split}-{model.step}"
    try:
        storage.make_folder(folder / "images")
        for place in (folder, folder / "images"):
            storage.sweep(place)
        records, rows = [], []
        with _PictureWriter(folder) as writer:
            for index, pictures, values in tqdm(
                _translate_all(model, pairs),
                total=len(pairs),
                unit="image",
                desc=f"evaluate {split}",
                dynamic_ncols=True,
            ):
                name = pairs.name(index)
                paths = writer.write(index, name, pictures)
                records.append({"name": name, "files": paths, **values})
                rows.append(gallery.Row(name=name, images=paths, metrics=values))
        mean = {metric: float(np.mean([r[metric] for r in records])) for metric in ("l1", "psnr", "ssim")}
        _write_metrics(folder / "metrics.json", model, split, mean, records)
        rules = model.config.inference
        gallery.write_gallery(
            folder / "index.html",
            title=f"{model.config.dataset} {split}, step {model.step}",
            subtitle=f"{len(pairs)} pairs, norm_stats {rules.norm_stats}, dropout {rules.dropout}",
            rows=rows,
            lower_is_better=metrics.LOWER_IS_BETTER,
        )
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another --output") from error
    return Result(mean=mean, images=records, folder=folder)


def _translate_all(model: TrainedModel, pairs: Pairs) -> Iterator[tuple[int, dict[str, np.ndarray], dict]]:
    """Yields (index, uint8 pictures by column, metrics) of every example."""
    size = model.batch_size
    for start in range(0, len(pairs), size):
        # The last batch is filled up with copies, which are dropped again, so that one compiled program serves all.
        indices = np.minimum(np.arange(start, start + size), len(pairs) - 1)
        batch = pipeline.load_batch(pairs, indices)
        shown = _as_stored(model, batch)
        values = {name: np.asarray(v) for name, v in _compare(shown["output"], shown["target"]).items()}
        pictures = {column: render(shown[column]) for column in COLUMNS}
        for i in range(min(size, len(pairs) - start)):
            yield (
                start + i,
                {column: pictures[column][i] for column in COLUMNS},
                {name: float(v[i]) for name, v in values.items()},
            )


def _as_stored(model: TrainedModel, batch: pipeline.Batch) -> dict[str, jax.Array]:
    """Input, output and target in [-1, 1], the output with as many levels as the targets have."""
    target_values = model.target_values
    # In NumPy like the targets: a last bit's difference would make the PSNR of equal pictures finite.
    stored = np.asarray(from_float(model.translate_resized(batch["input"]), target_values))
    images = {
        "input": to_float(batch["input"], model.input_values),
        "output": to_float(stored, target_values),
        "target": to_float(batch["target"], target_values),
    }
    if model.config.color_space == "lab":
        images["input"] = color.grey(images["input"])
    return images


@jax.jit
def _compare(output: jax.Array, target: jax.Array) -> dict[str, jax.Array]:
    output, target = output + 1, target + 1  # SSIM weighs brightness, which is to begin at 0
    return {
        "l1": metrics.l1(output, target),
        "psnr": metrics.psnr(output, target, data_range=2.0),
        "ssim": metrics.ssim(output, target, data_range=2.0),
    }


class _PictureWriter:
    """Encodes and writes pictures in threads, as a bucket takes long for each; on exit all are written."""

    THREADS = 8

    def __init__(self, folder: epath.Path):
        self._folder, self._pool = folder, futures.ThreadPoolExecutor(self.THREADS)
        self._pending: collections.deque[futures.Future] = collections.deque()

    def write(self, index: int, name: str, pictures: dict[str, np.ndarray]) -> dict[str, str]:
        """Begins to write an example's pictures, and returns their paths. Raises what writing earlier ones raised."""
        # The index keeps apart names that are the same in two subfolders; separators must not leave the folder.
        stem = f"{index:05d}-" + name.replace("/", "_").replace("\\", "_")
        paths = {column: f"images/{stem}-{column}.png" for column in pictures}
        for column, picture in pictures.items():
            self._pending.append(self._pool.submit(self._write, self._folder / paths[column], picture))
        while len(self._pending) > 4 * self.THREADS:
            self._pending.popleft().result()
        return paths

    def _write(self, path: epath.Path, picture: np.ndarray) -> None:
        storage.write(path, encode_png(picture))

    def __enter__(self) -> "_PictureWriter":
        return self

    def __exit__(self, exception_type, exception, traceback) -> None:
        self._pool.shutdown(cancel_futures=exception is not None)
        if exception is None:
            for written in self._pending:
                written.result()


def _write_metrics(path: epath.Path, model: TrainedModel, split: str, mean: dict, records: list[dict]) -> None:
    report = {
        "split": split,
        "step": model.step,
        "num_examples": len(records),
        "mean": mean,
        "total": {},
        "images": records,
        "config": config_lib.to_dict(model.config),
    }
    text = json.dumps(_without_infinity(report), indent=2, allow_nan=False) + "\n"
    storage.write(path, text.encode())


def _without_infinity(value):
    """JSON has no infinity (the PSNR of equal pictures): null."""
    if isinstance(value, dict):
        return {k: _without_infinity(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_infinity(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
