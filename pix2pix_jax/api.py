"""What the command line does, as calls: make a config, train, evaluate, translate.

`data` is, in every call, the pairs of one split, or {"train": pairs, "val": pairs, "test": pairs}. Pairs are a tuple of
two sequences, all A and all B, as arrays (N, H, W, C) or columns of a Hugging Face data set; or one sequence of pairs
(A, B), as a data source of Grain or TFDS or a PyTorch data set. The config's `direction` AtoB takes A as the input.
"""

import copy
import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

from pix2pix_jax import configuration
from pix2pix_jax.data.files.any_image import AnyPath
from pix2pix_jax.data.sources.given import GIVEN
from pix2pix_jax.evaluation import curves
from pix2pix_jax.evaluation import evaluate as evaluation
from pix2pix_jax.inference import trained_model
from pix2pix_jax.inference import translate as translation
from pix2pix_jax.inference.native import Size, Tile
from pix2pix_jax.inference.trained_model import TrainedModel
from pix2pix_jax.metrics import MetricsConfig
from pix2pix_jax.runtime import distributed, environment
from pix2pix_jax.training import train as training


def config(name: str = "default", /, **fields: Any) -> Any:
    """Returns a checked config with some of its fields set, a locked ConfigDict.

    Args:
      name: a name that `pix2pix configs` lists, or FILE.py or FILE.py:ARG, as --config takes it.
      **fields: values of fields by name; those of a group, such as `generator`, as a dictionary.

    Raises:
      UserError: no such config or field, or a value that cannot be used.
    """
    return configuration.check(configuration.make(name, fields))


def train(config: Any, workdir: AnyPath, *, data: Any = None) -> TrainedModel:
    """Trains as `pix2pix train` does, from the workdir's newest checkpoint if any, and returns the model.

    Ctrl-C, or the stop button of a notebook, saves the run; the same call goes on from there.

    Args:
      config: a config, as `pix2pix_jax.config` makes it, or the name of one.
      workdir: the folder of the run, local or gs://; created if need be.
      data: the pairs to train on, and others to validate and sample (see `pix2pix_jax.api`); by default those that the
        config names. A run goes on only with the data that it began with.

    Raises:
      UserError: the data, the workdir or the config cannot be used, or losses are no longer finite.
      Interrupted: the run was stopped, and is saved.
    """
    config = configuration.load(config) if isinstance(config, str) else configuration.check(copy.deepcopy(config))
    if data is not None:
        config.dataset = GIVEN
    environment.set_up_libraries()
    training.train(config, workdir, data=data)
    if distributed.is_main_process():
        curves.write(os.fspath(workdir))
    return trained_model.load(workdir)


def evaluate(
    workdir: AnyPath,
    *,
    data: Any = None,
    step: str | int = "latest",
    split: str = "val",
    output: str = "",
    metrics: tuple[str, ...] | None = None,
    palette: str = "",
    inception: AnyPath = "",
    lpips: AnyPath = "",
    segmenter: str = "",
    size: Literal["model", "native"] = "model",
    tile: Tile = "auto",
    **rules: str,
) -> evaluation.Result:
    """Compares a checkpoint's translations with a whole split, as `pix2pix evaluate` does, and writes the gallery.

    Args:
      workdir: the workdir of a training run.
      data: the pairs of the split, or of all splits, for a run that was trained on `data`.
      step: the checkpoint's step, "latest" or "best".
      split: "train", "val" or "test".
      output: the folder for metrics.json, images/ and index.html; "": WORKDIR/eval/SPLIT-STEP.
      metrics: names of metrics; by default those that need no other file.
      palette: the palette of label maps, by default the config's.
      inception, lpips: files of the weights of FID's network and of LPIPS, where they are not found by themselves.
      segmenter: path of a segmentation network, .onnx.
      size: "model" or "native".
      tile: as in `TrainedModel.translate`.
      **rules: norm_stats, dropout or weights, which replace those of the config's `inference`.

    Raises:
      UserError: no such checkpoint or split, or a metric cannot be computed.
    """
    environment.set_up_libraries()
    model = trained_model.load(workdir, step=step, **rules)
    if data is not None:
        data = data if isinstance(data, Mapping) else {split: data}
        given = copy.deepcopy(model.config)
        given.dataset = GIVEN
        model = dataclasses.replace(model, config=given)
    weights = {"inception": os.fspath(inception), "lpips": os.fspath(lpips)}
    request = MetricsConfig(metrics=metrics, palette=palette or model.config.palette, **weights)
    options = {"split": split, "output": output, "segmenter": segmenter, "size": size, "tile": tile}
    return evaluation.evaluate(model, workdir, request=request, data=data, **options)


def translate(
    workdir: AnyPath,
    input: AnyPath,
    output: AnyPath,
    *,
    step: str | int = "latest",
    seed: int = 0,
    pairs: str = "auto",
    size: Size = "model",
    tile: Tile = "auto",
    **rules: str,
) -> list[pathlib.Path]:
    """Translates image files, as `pix2pix translate` does, and returns the files written.

    `pix2pix_jax.load(workdir).translate(images)` translates arrays, and one picture after the other.

    Args:
      workdir: the workdir of a training run.
      input: a file, a folder or a glob pattern.
      output: the folder of the results.
      step: the checkpoint's step, "latest" or "best".
      seed: seed of dropout.
      pairs: "yes" takes the input half of A|B pairs, "no" whole files; "auto" looks at their shape.
      size: "model", "native" or (H, W).
      tile: as in `TrainedModel.translate`.
      **rules: norm_stats, dropout or weights, which replace those of the config's `inference`.

    Raises:
      UserError: no such checkpoint or file, or the output cannot be written.
    """
    environment.set_up_libraries()
    model = trained_model.load(workdir, step=step, **rules)
    return translation.translate_files(model, os.fspath(input), output, seed=seed, pairs=pairs, size=size, tile=tile)
