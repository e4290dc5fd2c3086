"""Evaluates a checkpoint on a whole split, or image files against others: scores, images and a gallery."""

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
from etils import epath

from pix2pix_jax import config as config_lib
from pix2pix_jax.config import build_data
from pix2pix_jax.data.files.picture_files import PictureFiles
from pix2pix_jax.data.files.value_range import UINT8, picture, render, to_float
from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.errors import UserError
from pix2pix_jax.evaluation import evaluator
from pix2pix_jax.evaluation.report import Report
from pix2pix_jax.inference.trained_model import TrainedModel
from pix2pix_jax.io import storage
from pix2pix_jax.metrics import MetricsConfig
from pix2pix_jax.metrics.choice import ResolvedMetrics
from pix2pix_jax.metrics.segmenter import Segmentation
from pix2pix_jax.metrics.weights import Weights
from pix2pix_jax.runtime import console, meshes
from pix2pix_jax.runtime.console import bar


@dataclasses.dataclass(frozen=True)
class Result:
    """Holds the results of an evaluation.

    Attributes:
      mean: metric -> mean over the examples.
      total: metric -> value of the whole set: fid, kid, label scores.
      images: for each example {"name": name, "files": column -> path, metric: value, ...}.
      folder: the folder of the files.
      left_out: metric -> the reason why it was not computed.
      other_weights: networks ("inception", "lpips") whose weights are not the published ones.
    """

    mean: dict[str, float]
    total: dict[str, float]
    images: list[dict]
    folder: epath.Path
    left_out: dict[str, str]
    other_weights: tuple[str, ...]


def evaluate(
    model: TrainedModel,
    workdir: epath.PathLike,
    *,
    split: str = "val",
    output: str = "",
    request: MetricsConfig = MetricsConfig(),  # noqa: B008, it is immutable
    segmenter: str = "",
) -> Result:
    """Translates a whole split and compares the translations, rounded as in image files, with the targets.

    Writes metrics.json, images/ and index.html to `WORKDIR/eval/SPLIT-STEP/`, or to `output`.

    Args:
      model: the trained model, which translates by its own inference rules.
      workdir: the workdir of its run.
      split: the split of the config's data set: "train", "val" or "test".
      output: the folder to write; "": `WORKDIR/eval/SPLIT-STEP/`.
      request: the metrics to compute. By default l1 (mean absolute difference of images in [-1, 1], as in the training
        loss), psnr (dB), ssim, and ms_ssim if images are large enough; label scores if the targets are label maps of a
        known set; lpips, fid and kid if the weights of their networks are found.
      segmenter: path of a segmentation network, .onnx, whose classes are compared with the inputs, which are label
        maps; the palette is then that of the inputs. "": none.

    Raises:
      UserError: there is no such split, a metric cannot be computed, or the folder cannot be written.
    """
    config = model.config
    segmentation, request = _segmentation(segmenter, request, evaluator.palette_of(config, "input"))
    evaluation = evaluator.of_split(config, split, mesh=model.mesh, batch_size=model.batch_size, request=request)
    pairs = evaluation.pairs
    for note in build_data.fitted_files(config, pairs):
        console.log(note)

    def translate(inputs: np.ndarray, ids: np.ndarray) -> np.ndarray:
        return model.translate_resized(inputs, ids=ids, fill=True)

    folder = storage.folder(output) if output else storage.folder(workdir) / "eval" / f"{split}-{model.step}"
    with _written(folder), Report(folder) as report:
        for scored in _progress(evaluation.run(translate), pairs, f"evaluate {split}"):
            pictures = _pictures(model, scored)
            report.add(scored.index, pairs.name(scored.index), pictures, scored.values)
            if segmentation:
                segmentation.add(output=pictures["output"], target=pictures["target"], label_map=pictures["input"])
        rules = config.inference
        facts = {
            "split": split,
            "step": model.step,
            "inference": {name: rules[name] for name in rules},
            **_protocol(evaluation.choice),
            "config": config_lib.to_dict(config),
        }
        return _finish(
            report,
            evaluation,
            segmentation,
            title=f"{config.dataset} {split}, step {model.step}",
            subtitle=f"{len(pairs)} pairs, norm_stats {rules.norm_stats}, dropout {rules.dropout}",
            facts=facts,
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
      request: the metrics to compute.
      segmenter: as in `evaluate`.

    Raises:
      UserError: files are missing, have no partner or differ in size; or as in `evaluate`.
    """
    if segmenter and not inputs:
        raise UserError("--segmenter: needs the label maps that the pictures were made from; give --inputs=FOLDER")
    segmentation, request = _segmentation(segmenter, request, "none")
    source = PictureFiles(pictures, targets, inputs)
    folder = storage.folder(output)
    _check_apart(folder, {"--pictures": pictures, "--targets": targets, "--inputs": inputs})
    for note in source.notes:
        console.log(f"note: {note}")
    pairs = PairedDataset(source=source, direction="AtoB", size=source.size, preprocess="none")
    mesh = meshes.make_local_mesh()
    evaluation = evaluator.Evaluator(
        pairs,
        values=UINT8,
        palette="none",
        cache_key=("files", targets),
        mesh=mesh,
        batch_size=meshes.inference_batch(mesh),
        request=request,
    )
    with _written(folder), Report(folder) as report:
        for scored in _progress(evaluation.run(lambda images, _: to_float(images)), pairs, "evaluate"):
            shown = {"output": scored.output, "target": scored.example["target"]}
            if inputs:
                shown = {"input": source.input(scored.index), **shown}
            report.add(scored.index, pairs.name(scored.index), shown, scored.values)
            if segmentation:
                segmentation.add(output=shown["output"], target=shown["target"], label_map=shown["input"])
        facts = {"pictures": pictures, "targets": targets, **_protocol(evaluation.choice)}
        subtitle = f"{len(pairs)} pictures, against {targets}"
        return _finish(report, evaluation, segmentation, title=pictures, subtitle=subtitle, facts=facts)


def _check_apart(output: epath.Path, places: dict[str, str]) -> None:
    """Raises UserError if the report's images would lie in a compared folder, and so be compared the next time."""
    written = storage.absolute(output / "images")
    for flag, place in places.items():
        source = storage.folder(place)
        if place and source.is_dir() and written.is_relative_to(storage.absolute(source)):
            raise UserError(f"--output={output}: its pictures would lie among those of {flag}; choose another folder")


def _segmentation(file: str, request: MetricsConfig, known: str) -> tuple[Segmentation | None, MetricsConfig]:
    """Returns (the segmentation, the request without a palette, which is the inputs' then); (None, request) if none.

    Args:
      file: path of the network; "" for none.
      request: the metrics that the user asks for.
      known: name of the inputs' palette if they are known to be label maps, else "none".
    """
    if not file:
        return None, request
    palette = known if request.palette == "auto" else request.palette
    return Segmentation(file, palette), dataclasses.replace(request, palette="auto")


def _finish(
    report: Report,
    evaluation: evaluator.Evaluator,
    segmentation: Segmentation | None,
    *,
    title: str,
    subtitle: str,
    facts: dict,
) -> Result:
    total = evaluation.totals() | (segmentation.totals() if segmentation else {})
    mean = evaluator.means(report.records, total)
    report.finish(title=title, subtitle=subtitle, mean=mean, total=total, facts=facts)
    choice = evaluation.choice
    return Result(
        mean=mean,
        total=total,
        images=report.records,
        folder=report.folder,
        left_out=choice.left_out,
        other_weights=tuple(name for name, weights in _networks(choice).items() if not weights.is_published),
    )


@contextlib.contextmanager
def _written(folder: epath.Path) -> Iterator[None]:
    """Turns an OSError of writing to `folder` into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another --output") from error


def _progress(scored: Iterator[evaluator.Scored], pairs: PairedDataset, what: str) -> Iterator[evaluator.Scored]:
    return bar(scored, total=len(pairs), unit="image", desc=what)


def _pictures(model: TrainedModel, scored: evaluator.Scored) -> dict[str, np.ndarray]:
    """Returns an example's images by column, uint8 (H, W, 1 or 3)."""
    values = build_data.stream_values(model.config)
    shown = {
        "input": picture(scored.example["input"], values["input"]),
        "output": picture(scored.output, values["target"]),
        "target": picture(scored.example["target"], values["target"]),
    }
    if (space := build_data.color_space(model.config)).colorizes:
        shown["input"] = render(space.visible(to_float(scored.example["input"], values["input"])))
    return shown


def _protocol(choice: ResolvedMetrics) -> dict:
    """Returns what metrics depend on beside their names: their networks' weights and the palette."""
    return {
        "weights": {
            name: {"sha256": weights.digest, "published": weights.is_published}
            for name, weights in _networks(choice).items()
        },
        "palette": choice.palette.name if choice.palette else None,
    }


def _networks(choice: ResolvedMetrics) -> dict[str, Weights]:
    networks = {"inception": choice.inception, "lpips": choice.lpips}
    return {name: weights for name, weights in networks.items() if weights}
