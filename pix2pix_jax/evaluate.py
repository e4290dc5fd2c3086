"""A checkpoint against a whole split: numbers, pictures and a gallery."""

import dataclasses
import json
import math
from collections.abc import Iterator

import jax
import numpy as np
from etils import epath
from tqdm import tqdm

from pix2pix_jax import config as config_lib
from pix2pix_jax import gallery, metrics, recipe
from pix2pix_jax.data import color, pipeline
from pix2pix_jax.data.augment import to_float, to_uint8
from pix2pix_jax.data.images import encode_png
from pix2pix_jax.data.pairs import Pairs
from pix2pix_jax.errors import UserError
from pix2pix_jax.inference import TrainedModel

COLUMNS = ("input", "output", "target")


@dataclasses.dataclass(frozen=True)
class Result:
    """`mean`: metric -> mean over the split; `images`: one {"name", metric: value} an example; `folder`: the files."""

    mean: dict[str, float]
    images: list[dict]
    folder: epath.Path


def evaluate(model: TrainedModel, workdir: epath.PathLike, *, split: str = "val", output: str = "") -> Result:
    """Translates a whole split and compares the translations, as 8-bit pictures, with the targets.

    Writes metrics.json, images/ and index.html to `WORKDIR/eval/SPLIT-STEP/`, or to `output`. The metrics are l1 (mean
    absolute difference of images in [-1, 1], as the training loss), psnr (dB) and ssim.

    Raises:
      UserError: no such split, or the folder cannot be written.
    """
    pairs = recipe.open_pairs(model.config, split)
    folder = epath.Path(output) if output else epath.Path(workdir).expanduser() / "eval" / f"{split}-{model.step}"
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        records, rows = [], []
        for index, pictures, values in tqdm(
            _translate_all(model, pairs), total=len(pairs), unit="image", desc=f"evaluate {split}", dynamic_ncols=True
        ):
            name = pairs.name(index)
            paths = _write_pictures(folder, index, name, pictures)
            records.append({"name": name, **values})
            rows.append(gallery.Row(name=name, images=paths, metrics=values))
        mean = {metric: float(np.mean([r[metric] for r in records])) for metric in ("l1", "psnr", "ssim")}
        _write_metrics(folder / "metrics.json", model, split, mean, records)
        rules = model.config.inference
        gallery.write_gallery(
            folder / "index.html",
            title=f"{model.config.dataset} {split}, step {model.step}",
            subtitle=f"{len(pairs)} pairs, norm_stats {rules.norm_stats}, dropout {rules.dropout}",
            rows=rows,
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
        batch["output"] = np.asarray(to_uint8(model.translate_resized(batch["input"])))
        if model.config.color_space == "lab":
            batch["input"] = np.asarray(to_uint8(color.grey(to_float(batch["input"]))))
        values = {name: np.asarray(v) for name, v in _compare(batch["output"], batch["target"]).items()}
        for i in range(min(size, len(pairs) - start)):
            yield (
                start + i,
                {column: batch[column][i] for column in COLUMNS},
                {name: float(v[i]) for name, v in values.items()},
            )


@jax.jit
def _compare(output: jax.Array, target: jax.Array) -> dict[str, jax.Array]:
    return {
        "l1": metrics.l1(output, target) / 127.5,
        "psnr": metrics.psnr(output, target),
        "ssim": metrics.ssim(output, target),
    }


def _write_pictures(folder: epath.Path, index: int, name: str, pictures: dict[str, np.ndarray]) -> dict[str, str]:
    # The index keeps apart names that are the same in two subfolders; separators must not leave the folder.
    stem = f"{index:05d}-" + name.replace("/", "_").replace("\\", "_")
    paths = {column: f"images/{stem}-{column}.png" for column in pictures}
    for column, picture in pictures.items():
        (folder / paths[column]).write_bytes(encode_png(picture))
    return paths


def _write_metrics(path: epath.Path, model: TrainedModel, split: str, mean: dict, records: list[dict]) -> None:
    report = {
        "split": split,
        "step": model.step,
        "num_examples": len(records),
        "mean": mean,
        "images": records,
        "config": config_lib.to_dict(model.config),
    }
    path.write_text(json.dumps(_without_infinity(report), indent=2, allow_nan=False) + "\n")


def _without_infinity(value):
    """JSON has no infinity (the PSNR of equal pictures): null."""
    if isinstance(value, dict):
        return {k: _without_infinity(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_infinity(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
