"""Numbers, pictures and a gallery: of a checkpoint against a whole split, or of picture files against others."""

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
    """What was found.

    Attributes:
      mean: metric -> mean over the split.
      total: metric -> value of the whole split: fid, kid, label scores.
      images: {"name", "files", metric: value} of each example.
      folder: of the files.
      left_out: metric -> why it was not computed.
      other_weights: networks whose weights are not those that others compute their numbers with.
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
    """Translates a whole split and compares the translations, rounded as files would be, with the targets.

    Writes metrics.json, images/ and index.html to `WORKDIR/eval/SPLIT-STEP/`, or to `output`.

    Args:
      model: with its rules of inference.
      workdir: of its run.
      split: of its data.
      output: a folder.
      request: which metrics. By default l1 (mean absolute difference of images in [-1, 1], as the training loss), psnr
        (dB), ssim, ms_ssim where pictures are large enough; label scores where the targets are label maps of a set
        that is known; lpips, fid and kid where their networks' weights are found.
      segmenter: a segmentation network, .onnx, whose classes are compared with the label maps that the inputs are;
        the palette is theirs then.

    Raises:
      UserError: no such split, a metric that cannot be computed, or the folder cannot be written.
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
      pictures: a file, a folder or a pattern.
      targets: likewise. Files belong together by name, but for an ending that all of one side have, as _fake_B.
      output: the folder for metrics.json, images/ and index.html.
      inputs: what the pictures were made from, to be shown, and for `segmenter` the label maps.
      request: which metrics.
      segmenter: as in `evaluate`.

    Raises:
      UserError: files are missing, have no partner, differ in size; and as `evaluate`.
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
        words=("files", targets),
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
    """Raises UserError if the report's pictures would lie below a compared folder, and be compared the next time."""
    written = storage.absolute(output / "images")
    for flag, place in places.items():
        source = storage.folder(place)
        if place and source.is_dir() and written.is_relative_to(storage.absolute(source)):
            raise UserError(f"--output={output}: its pictures would lie among those of {flag}; choose another folder")


def _segmentation(file: str, request: MetricsConfig, known: str) -> tuple[Segmentation | None, MetricsConfig]:
    """(the segmenter, the request without its palette): with one, label maps are what pictures were made from.

    Args:
      file: of the network; "" for none.
      request: what the user asks for.
      known: the name of the inputs' palette, or "none".
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
    """Makes of what cannot be written a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another --output") from error


def _progress(scored: Iterator[evaluator.Scored], pairs: PairedDataset, what: str) -> Iterator[evaluator.Scored]:
    return bar(scored, total=len(pairs), unit="image", desc=what)


def _pictures(model: TrainedModel, scored: evaluator.Scored) -> dict[str, np.ndarray]:
    """Column -> uint8 (H, W, 1 or 3)."""
    values = build_data.stream_values(model.config)
    shown = {
        "input": picture(scored.example["input"], values["input"]),
        "output": picture(scored.output, values["target"]),
        "target": picture(scored.example["target"], values["target"]),
    }
    if (space := build_data.color_space(model.config)).colorizes:
        shown["input"] = render(space.shown(to_float(scored.example["input"], values["input"])))
    return shown


def _protocol(choice: ResolvedMetrics) -> dict:
    """How metrics were made, as far as they depend on more than their name."""
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
