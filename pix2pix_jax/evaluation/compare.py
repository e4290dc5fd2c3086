"""Compares runs side by side: a table of their scores, their curves, and their translations of the same examples."""

import collections
import dataclasses
import json
import math
import operator
import re
import shlex
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from pix2pix_jax.config.validate import flatten
from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.evaluation import curves, gallery
from pix2pix_jax.io import storage
from pix2pix_jax.metrics import LOWER_IS_BETTER

_UP, _DOWN = "\u2191", "\u2193"  # which way a metric gets better
_THREADS = 8  # a bucket has a long latency for each image
_MARKUP = re.compile(
    r"[\\`*\[\]<>|~$&]|(?<![^\W_])_|_(?![^\W_])"
)  # Markdown's special characters; an underscore within a word is not one


@dataclasses.dataclass(frozen=True)
class Run:
    """Holds an evaluated run.

    Attributes:
      name: the part of the workdir's path in which it differs from the other runs.
      folder: the folder of the evaluation.
      step: the step of the evaluated checkpoint.
      num_examples: number of examples in the split.
      scores: metric -> its mean over the split, or its value for the whole split; None if that is not finite.
      images: (name, number of earlier examples of that name) -> the example's entry in metrics.json.
      config: dotted name of each field -> value.
      curves: name -> curve in the run's metrics.jsonl.
    """

    name: str
    folder: epath.Path
    step: int
    num_examples: int
    scores: dict[str, float | None]
    images: dict[tuple[str, int], dict]
    config: dict[str, Any]
    curves: dict[str, curves.Series]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Holds the text of table.md and the folder of the files."""

    table: str
    folder: epath.Path


def compare(
    workdirs: Sequence[epath.PathLike], *, split: str = "val", output: epath.PathLike = "comparison", examples: int = 24
) -> Comparison:
    """Compares the latest evaluations of runs on a split.

    Writes table.md, curves.png, curves.svg (if a run has logged anything), and index.html with images/ to `output`.
    This folder is complete by itself and can be moved.

    Args:
      workdirs: the workdirs of one or more runs, which `evaluate` has evaluated.
      split: the evaluated split.
      output: the folder to write.
      examples: number of examples to show, spread over those that all runs have; if they are fewer, all are shown.

    Raises:
      UserError: a path is no workdir or is given twice, a run has no evaluation of the split, the runs have no example
        in common, or the folder cannot be written.
    """
    if examples < 1:
        raise UserError(f"--examples={examples}: must be at least 1")
    runs = _open(workdirs, split)
    common = [key for key in runs[0].images if all(key in run.images for run in runs)]
    if not common:
        raise UserError(f"{runs[0].folder} and the others have no example of {split} in common; evaluate the same data")
    chosen = [common[i] for i in np.unique(np.linspace(0, len(common) - 1, examples).round().astype(int))]
    folder = storage.folder(output)
    _check_apart(folder, runs)
    subtitle = (
        f"{split}: {len(chosen)} of the {len(common)} examples that {'all runs have' if len(runs) > 1 else 'it has'}"
    )
    try:
        return _write(runs, chosen, folder, subtitle=subtitle)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another --output") from error


def _check_apart(folder: epath.Path, runs: Sequence[Run]) -> None:
    """Raises UserError if the files would overwrite those of a run or of an evaluation."""
    for run in runs:
        if storage.absolute(folder) in map(storage.absolute, (run.folder, run.folder.parent.parent)):
            raise UserError(f"--output={folder}: would overwrite files of {run.name}; choose another folder")


def _write(runs: Sequence[Run], chosen: Sequence[tuple[str, int]], folder: epath.Path, *, subtitle: str) -> Comparison:
    storage.make_folder(folder / "images")
    rows, same_targets = _copy_pictures(runs, chosen, folder)
    if not same_targets:
        subtitle += f"; their targets are not the same pictures, those of {runs[0].name} are shown"
    tables = [_score_table(runs), *_config_table(runs)]
    markdown = "\n".join(map(_markdown, tables))
    storage.write(folder / "table.md", markdown.encode())
    gallery.write_gallery(
        folder / "index.html",
        title=" | ".join(run.name for run in runs),
        subtitle=subtitle,
        rows=rows,
        lower_is_better=LOWER_IS_BETTER,
        columns=("input", *_columns(runs), "target"),
        above=[*tables, *_write_curves(runs, folder)],
    )
    return Comparison(table=markdown, folder=folder)


def _open(workdirs: Sequence[epath.PathLike], split: str) -> list[Run]:
    folders = [storage.folder(workdir) for workdir in workdirs]
    paths = [storage.absolute(folder) for folder in folders]
    for path, count in collections.Counter(paths).items():
        if count > 1:
            raise UserError(f"{path}: given {count} times; give each workdir once")
    names = _distinguish([str(path) for path in paths])
    try:
        return [_open_run(folder, name, split) for folder, name in zip(folders, names, strict=True)]
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error


def _distinguish(paths: Sequence[str]) -> list[str]:
    """Strips from distinct paths the folders with which all begin and all end, but leaves at least one folder each."""
    parts = [path.split("/") for path in paths]
    for end in (0, -1):
        while all(len(p) > 1 for p in parts) and len({p[end] for p in parts}) == 1:
            parts = [p[1:] if end == 0 else p[:-1] for p in parts]
    return [printable("/".join(p)) for p in parts]


def _open_run(workdir: epath.Path, name: str, split: str) -> Run:
    if not storage.read(workdir / "config.json"):
        what = "no config.json in it, so not the workdir of a run" if workdir.exists() else "no such folder"
        raise UserError(f"{workdir}: {what}; give the --workdir of a training run")
    remedy = f"pix2pix evaluate --workdir={shlex.quote(str(workdir))} --split={split}"
    step, folder = _latest_evaluation(workdir, split, remedy)
    try:
        report = json.loads(storage.read(folder / "metrics.json"))
        return Run(
            name=name,
            folder=folder,
            step=step,
            num_examples=len(report["images"]),
            scores={name: _number(value) for name, value in {**report["mean"], **report["total"]}.items()},
            images=_by_name(report["images"]),
            config=flatten(ConfigDict(report["config"])),
            curves=curves.read(storage.read(workdir / "metrics.jsonl")),
        )
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f"{folder / 'metrics.json'}: damaged, or of another version; run {remedy}") from error


def _latest_evaluation(workdir: epath.Path, split: str, remedy: str) -> tuple[int, epath.Path]:
    place = workdir / "eval"
    paths = {path.name: path for path in place.iterdir()} if place.exists() else {}
    steps = {int(match[1]): paths[match[0]] for match in map(re.compile(rf"{split}-(\d+)").fullmatch, paths) if match}
    evaluated = [step for step, folder in steps.items() if (folder / "metrics.json").exists()]
    if not evaluated:
        raise UserError(f"{workdir}: no evaluation of {split} in it; run {remedy}")
    return max(evaluated), steps[max(evaluated)]


def _by_name(images: list[dict]) -> dict[tuple[str, int], dict]:
    """Keys the entries by name and occurrence, as names may repeat in subfolders. Raises what damaged entries raise."""
    seen: collections.Counter[str] = collections.Counter()
    entries = {}
    for entry in images:
        for column in ("input", "output", "target"):
            _check_inside(entry["files"][column])
        for value in _values(entry).values():
            _number(value)
        entries[entry["name"], seen[entry["name"]]] = entry
        seen[entry["name"]] += 1
    return entries


def _check_inside(path: str) -> None:
    """Raises ValueError if a metrics.json, which may be a stranger's, names a file outside its folder."""
    if path.startswith(("/", "~")) or ".." in path.split("/") or "\0" in path:
        raise ValueError(path)


def _number(value: float | None) -> float | None:
    """Returns a metric's value, None if it is not finite. Raises TypeError or OverflowError if it is no number."""
    return None if value is None else float(operator.pos(value))


def _columns(runs: Sequence[Run]) -> list[str]:
    """Returns the gallery's column for each run; "input" and "target" are columns of their own."""
    return [f"{run.name} (run)" if run.name in ("input", "target") else run.name for run in runs]


def _score_table(runs: Sequence[Run]) -> gallery.Table:
    metrics = sorted({metric for run in runs for metric in run.scores})
    head = ["run", "step", "examples"]
    rows = [[run.name, str(run.step), str(run.num_examples)] for run in runs]
    best = set()
    for metric in metrics:
        values = [run.scores.get(metric, "") for run in runs]
        best |= {(row, len(head)) for row in _best(values, metric)}
        head.append(f"{metric} {_DOWN if metric in LOWER_IS_BETTER else _UP}")
        for row, value in zip(rows, values, strict=True):
            row.append(_format(value))
    return gallery.Table("Scores", head, rows, best)


def _best(values: Sequence[float | str | None], metric: str) -> list[int]:
    """Returns the indices of the best value, several if equal; none if there is nothing to compare."""
    known = [value for value in values if isinstance(value, float)]
    if len(known) < 2:
        return []
    best = min(known) if metric in LOWER_IS_BETTER else max(known)
    return [i for i, value in enumerate(values) if value == best]


def _format(value: float | str | None) -> str:
    if value is None:
        return "n/a"  # not finite: null in JSON
    if isinstance(value, str):
        return value  # "": the run lacks the metric
    return f"{value:#.4g}" if abs(value) < 1000 else f"{value:.0f}"


def _config_table(runs: Sequence[Run]) -> list[gallery.Table]:
    fields = dict.fromkeys(field for run in runs for field in run.config)
    rows = [[field, *(_value(run.config, field) for run in runs)] for field in fields]
    differing = [row for row in rows if len(set(row[1:])) > 1]
    head = ("config", *(run.name for run in runs))
    return [gallery.Table("Fields of the config that differ", head, differing)] if differing else []


def _value(config: dict[str, Any], field: str) -> str:
    if field not in config:
        return ""  # a field of another version
    value = config[field]
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _markdown(table: gallery.Table) -> str:
    head, *rows = ([_MARKUP.sub(r"\\\g<0>", printable(text)) for text in cells] for cells in (table.head, *table.rows))
    for row, column in table.best:
        rows[row][column] = f"**{rows[row][column]}**"
    rule = ["---", *["---:"] * (len(head) - 1)]
    lines = (f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
    return "\n".join((f"{table.title}:", "", *lines, ""))


def _write_curves(runs: Sequence[Run], folder: epath.Path) -> list[gallery.Picture]:
    if not any(run.curves for run in runs):
        return []  # imported weights have no curves
    for kind, data in curves.draw({run.name: run.curves for run in runs}).items():
        storage.write(folder / f"curves.{kind}", data)
    return [gallery.Picture("Curves", "curves.svg")]


def _copy_pictures(runs: Sequence[Run], chosen: Sequence[tuple[str, int]], folder: epath.Path):
    """Copies the examples' images; returns the gallery's rows, and whether all runs have the same targets."""
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        copied = list(pool.map(lambda item: _copy_example(runs, *item, folder), enumerate(chosen)))
    return [row for row, _ in copied], all(same for _, same in copied)


def _copy_example(
    runs: Sequence[Run], index: int, key: tuple[str, int], folder: epath.Path
) -> tuple[gallery.Row, bool]:
    first, columns = runs[0], _columns(runs)
    pictures = {"input": _picture(first, key, "input")}
    pictures |= {column: _picture(run, key, "output") for column, run in zip(columns, runs, strict=True)}
    pictures["target"] = _picture(first, key, "target")
    same = all(_picture(run, key, "target") == pictures["target"] for run in runs[1:])
    # Files are named by number, as a run's name may not be a valid file name.
    paths = {column: f"images/{index:05d}-{place}.png" for place, column in enumerate(pictures)}
    for column, picture in pictures.items():
        storage.write(folder / paths[column], picture)
    values = {column: _metrics(run.images[key]) for column, run in zip(columns, runs, strict=True)}
    return gallery.Row(name=key[0], images=paths, metrics={}, column_metrics=values), same


def _picture(run: Run, key: tuple[str, int], column: str) -> bytes:
    path = run.folder / run.images[key]["files"][column]
    try:
        picture = storage.read(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not picture:
        raise UserError(f"{path}: missing, though {run.folder / 'metrics.json'} names it; evaluate again")
    return picture


def _metrics(entry: dict) -> dict[str, float]:
    """Returns metric -> value, with NaN for null, which stands for values that are not finite."""
    return {name: math.nan if value is None else value for name, value in _values(entry).items()}


def _values(entry: dict) -> dict[str, float | None]:
    return {name: value for name, value in entry.items() if name not in ("name", "files")}
