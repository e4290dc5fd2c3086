"""Evaluates a checkpoint on a whole split, or image files against others: scores, images and a gallery."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from etils import epath

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.configuration import build_data
from pix2pix_jax.data.files.value_range import NORMALISED, UINT8, picture, render, to_float
from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.data.sources.picture_files import PictureFiles
from pix2pix_jax.errors import UserError
from pix2pix_jax.evaluation import evaluator
from pix2pix_jax.evaluation.report import Report
from pix2pix_jax.inference.native import Tile
from pix2pix_jax.inference.tiles import ArrayPicture
from pix2pix_jax.inference.trained_model import TrainedModel
from pix2pix_jax.io import storage
from pix2pix_jax.metrics import MetricsConfig
from pix2pix_jax.metrics.segmenter import Segmentation
from pix2pix_jax.runtime import console, meshes


@dataclasses.dataclass(frozen=True)
class Result:
    """Holds the results of an evaluation."""

    mean: dict[str, float]  # metric -> mean over the examples
    total: dict[str, float]  # metric -> value of the whole set: fid, kid, label scores
    images: list[dict[str, Any]]  # for each example {"name": name, "files": column -> path, metric: value, ...}
    folder: pathlib.Path  # of the files, or epath's for a bucket, which has the same methods
    left_out: dict[str, str]  # metric -> why it was not computed
    other_weights: tuple[str, ...]  # networks ("inception", "lpips") whose weights are not the published ones


def evaluate(
    model: TrainedModel,
    workdir: epath.PathLike,
    *,
    split: str = "val",
    output: str = "",
    request: MetricsConfig = MetricsConfig(),  # noqa: B008, it is immutable
    segmenter: str = "",
    size: Literal["model", "native"] = "model",
    tile: Tile = "auto",
    data: Any = None,
) -> Result:
    """Translates a whole split and compares the translations, rounded as in image files, with the targets.

    Args:
      model: the trained model, which translates by its own inference rules.
      workdir: the workdir of its run.
      split: "train", "val" or "test".
      output: the folder for metrics.json, images/ and index.html; "": `WORKDIR/eval/SPLIT-STEP/`.
      request: the metrics to compute. By default l1 (mean absolute difference of images in [-1, 1], as in the training
        loss), psnr (dB), ssim, and ms_ssim if images are large enough; label scores if the targets are label maps of a
        known set; lpips, fid and kid if the weights of their networks are found.
      segmenter: path of a segmentation network, .onnx, whose classes are compared with the inputs, which are label
        maps; the palette is then that of the inputs. "": none.
      size: "native" translates and compares images at their own sizes, one by one.
      tile: for that, as in `TrainedModel.translate`.
      data: the pairs of dataset `given`; see `data.sources.given.open_given`.

    Raises:
      UserError: there is no such split, a metric cannot be computed, or the folder cannot be written.
    """
    config, rules = model.config, model.config.inference
    segmentation, request = _open_segmenter(segmenter, request, evaluator.palette_of(config, "input"))
    native = size == "native"
    devices = (meshes.make_local_mesh(rows=1), 1) if native else (model.mesh, model.batch_size)
    options = {"mesh": devices[0], "batch_size": devices[1], "native": native}
    evaluation = evaluator.of_split(config, split, request=request, data=data, **options)
    for note in build_data.fitted_files(config, evaluation.pairs):
        console.log(note)

    def translate(inputs: np.ndarray, ids: np.ndarray) -> np.ndarray:
        if not native:
            return model.translate_resized(inputs, ids=ids, fill=True)
        values = (model.input_values, NORMALISED)
        parts = model.translate_picture(ArrayPicture(inputs[0]), int(ids[0]), seed=0, tile=tile, values=values)
        return np.concatenate(list(parts))[None]

    default = storage.folder(workdir) / "eval" / f"{split}-{model.step}{'-native' * native}"
    return _score_and_write(
        evaluation,
        translate=translate,
        pictures_of=lambda scored: _pictures(model, scored),
        segmentation=segmentation,
        folder=storage.folder(output) if output else default,
        title=f"{config.dataset} {split}, step {model.step}",
        subtitle=f"{len(evaluation.pairs)} pairs, norm_stats {rules.norm_stats}, dropout {rules.dropout}",
        facts={"split": split, "step": model.step, "inference": dict(rules), "config": config_lib.to_dict(config)},
    )


def evaluate_files(
    pictures: str,
    targets: str,
    output: str,
    *,
    inputs: str = "",
    request: MetricsConfig = MetricsConfig(),  # noqa: B008, it is immutable
    segmenter: str = "",
) -> Result:
    """Compares pictures that any program made with their targets, as `evaluate` does.

    Args:
      pictures: the pictures: a file, a folder or a glob pattern.
      targets: their targets, likewise. Files are paired by name, without an ending that all of a side share (_fake_B).
      output: the folder for metrics.json, images/ and index.html.
      inputs: the images that the pictures were made from, which the gallery shows; label maps if `segmenter` is given.
      request, segmenter: as in `evaluate`.

    Raises:
      UserError: files are missing, have no partner or differ in size; or as in `evaluate`.
    """
    if segmenter and not inputs:
        raise UserError("--segmenter: needs the label maps that the pictures were made from; give --inputs=FOLDER")
    segmentation, request = _open_segmenter(segmenter, request, "none")
    source = PictureFiles(pictures, targets, inputs)
    folder = storage.folder(output)
    _check_apart(folder, {"--pictures": pictures, "--targets": targets, "--inputs": inputs})
    for note in source.notes:
        console.log(f"note: {note}")
    mesh = meshes.make_local_mesh()
    evaluation = evaluator.Evaluator(
        PairedDataset(source=source, direction="AtoB", size=source.size, preprocess="none"),
        values=UINT8,
        palette="none",
        cache_key=("files", targets),
        mesh=mesh,
        batch_size=meshes.inference_batch(mesh),
        request=request,
    )

    def pictures_of(scored: evaluator.Scored) -> dict[str, np.ndarray]:
        given = {"input": source.input(scored.index)} if inputs else {}
        return {**given, "output": scored.output, "target": scored.example["target"]}

    return _score_and_write(
        evaluation,
        translate=lambda images, _: to_float(images),
        pictures_of=pictures_of,
        segmentation=segmentation,
        folder=folder,
        title=pictures,
        subtitle=f"{len(source.names)} pictures, against {targets}",
        facts={"pictures": pictures, "targets": targets},
    )


def _check_apart(output: epath.Path, places: dict[str, str]) -> None:
    """Raises UserError if the report's images would lie in a compared folder, and so be compared the next time."""
    written = storage.absolute(output / "images")
    for flag, place in places.items():
        source = storage.folder(place)
        if place and source.is_dir() and written.is_relative_to(storage.absolute(source)):
            raise UserError(f"--output={output}: its pictures would lie among those of {flag}; choose another folder")


def _open_segmenter(file: str, request: MetricsConfig, known: str) -> tuple[Segmentation | None, MetricsConfig]:
    """Opens the network in `file`, "" for none, and takes its inputs' palette, by default `known`, from the request."""
    if not file:
        return None, request
    palette = known if request.palette == "auto" else request.palette
    return Segmentation(file, palette), dataclasses.replace(request, palette="auto")


def _pictures(model: TrainedModel, scored: evaluator.Scored) -> dict[str, np.ndarray]:
    """Returns an example's images by column, uint8 (H, W, 1 or 3)."""
    given, values, space = scored.example["input"], model.input_values, build_data.color_space(model.config)
    return {
        "input": render(space.visible(to_float(given, values))) if space.colorizes else picture(given, values),
        "output": picture(scored.output, model.target_values),
        "target": picture(scored.example["target"], model.target_values),
    }


def _score_and_write(
    evaluation: evaluator.Evaluator,
    *,
    translate: Callable[[np.ndarray, np.ndarray], Any],
    pictures_of: Callable[[evaluator.Scored], dict[str, np.ndarray]],
    segmentation: Segmentation | None,
    folder: epath.Path,
    title: str,
    subtitle: str,
    facts: dict[str, Any],
) -> Result:
    """Scores all examples and writes the report, which adds the networks' weights and the palette to `facts`."""
    pairs, choice = evaluation.pairs, evaluation.choice
    networks = {name: weights for name in ("inception", "lpips") if (weights := getattr(choice, name))}
    facts = facts | {
        "weights": {name: {"sha256": w.digest, "published": w.is_published} for name, w in networks.items()},
        "palette": choice.palette.name if choice.palette else None,
    }
    label = f"evaluate {facts.get('split', '')}".strip()
    try:
        with Report(folder) as report:
            for scored in console.bar(evaluation.run(translate), total=len(pairs), unit="image", desc=label):
                pictures = pictures_of(scored)
                report.add(scored.index, pairs.name(scored.index), pictures, scored.values)
                if segmentation:
                    segmentation.add(output=pictures["output"], target=pictures["target"], label_map=pictures["input"])
            total = evaluation.totals() | (segmentation.totals() if segmentation else {})
            mean = evaluator.means(report.records, total)
            report.finish(title=title, subtitle=subtitle, mean=mean, total=total, facts=facts)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another --output") from error
    other_weights = tuple(name for name, weights in networks.items() if not weights.is_published)
    return Result(mean, total, report.records, folder, choice.left_out, other_weights)
