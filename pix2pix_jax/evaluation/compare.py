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

from pix2pix_jax.configuration.validate import flatten
from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.evaluation import curves, gallery
from pix2pix_jax.evaluation.report import metrics_of
from pix2pix_jax.io import storage
from pix2pix_jax.metrics import LOWER_IS_BETTER

_UP, _DOWN = "\u2191", "\u2193"  # which way a metric gets better
_THREADS = 8  # a bucket has a long latency for each image
# Markdown's special characters; an underscore within a word is not one.
_MARKUP = re.compile(r"[\\`*\[\]<>|~$&]|(?<![^\W_])_|_(?![^\W_])")


@dataclasses.dataclass(frozen=True)
class Run:
    """Holds an evaluated run."""

    name: str  # the part of the workdir's path in which it differs from the other runs
    folder: epath.Path  # of the evaluation
    step: int  # of the evaluated checkpoint
    scores: dict[str, float]  # metric -> mean over the split, or value of the whole split; NaN if not finite
    examples: dict[tuple[str, int], gallery.Row]  # (name, number of earlier examples of that name) -> example
    config: dict[str, Any]  # dotted name of each field -> value
    curves: dict[str, curves.Series]  # name -> curve in the run's metrics.jsonl


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Holds the text of table.md and the folder of the files."""

    table: str
    folder: epath.Path


def compare(
    workdirs: Sequence[epath.PathLike], *, split: str = "val", output: epath.PathLike = "comparison", examples: int = 24
) -> Comparison:
    """Compares the latest evaluations of runs on a split.

    Args:
      workdirs: the workdirs of one or more runs.
      split: the evaluated split.
      output: the folder to write: table.md, curves.png and curves.svg (if a run has logged anything), and index.html
        with images/. It is complete by itself and can be moved.
      examples: number of examples to show, spread over those that all runs have; if they are fewer, all are shown.

    Raises:
      UserError: a path is no workdir or is given twice, a run has no evaluation of the split, the runs have no example
        in common, or the folder cannot be written.
    """
    if examples < 1:
        raise UserError(f"--examples={examples}: must be at least 1")
    runs = _open(workdirs, split)
    common = [key for key in runs[0].examples if all(key in run.examples for run in runs)]
    if not common:
        raise UserError(f"{runs[0].folder} and the others have no example of {split} in common; evaluate the same data")
    chosen = [common[i] for i in np.unique(np.linspace(0, len(common) - 1, examples).round().astype(int))]
    folder = storage.folder(output)
    for run in runs:
        if storage.absolute(folder) in map(storage.absolute, (run.folder, run.folder.parent.parent)):
            raise UserError(f"--output={folder}: would overwrite files of {run.name}; choose another folder")
    subtitle = f"{split}: {len(chosen)} of the {len(common)} examples that {'all runs have' if runs[1:] else 'it has'}"
    try:
        return _write(runs, chosen, folder, subtitle=subtitle)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another --output") from error


def _write(runs: Sequence[Run], chosen: Sequence[tuple[str, int]], folder: epath.Path, *, subtitle: str) -> Comparison:
    storage.make_folder(folder / "images")
    # "input" and "target" are columns of their own.
    columns = [f"{run.name} (run)" if run.name in ("input", "target") else run.name for run in runs]
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        copied = list(pool.map(lambda item: _copy_example(runs, columns, *item, folder), enumerate(chosen)))
    if not all(same_targets for _, same_targets in copied):
        subtitle += f"; their targets are not the same pictures, those of {runs[0].name} are shown"
    tables = [_score_table(runs), *_config_table(runs)]
    markdown = "\n".join(map(_markdown, tables))
    storage.write(folder / "table.md", markdown.encode())
    drawn = curves.write_files({run.name: run.curves for run in runs}, folder)
    gallery.write_gallery(
        folder / "index.html",
        title=" | ".join(run.name for run in runs),
        subtitle=subtitle,
        rows=[row for row, _ in copied],
        columns=("input", *columns, "target"),
        above=[*tables, *([gallery.Picture("Curves", "curves.svg")] if drawn else [])],
    )
    return Comparison(table=markdown, folder=folder)


def _open(workdirs: Sequence[epath.PathLike], split: str) -> list[Run]:
    folders = [storage.folder(workdir) for workdir in workdirs]
    paths = [str(storage.absolute(folder)) for folder in folders]
    for path, count in collections.Counter(paths).items():
        if count > 1:
            raise UserError(f"{path}: given {count} times; give each workdir once")
    try:
        return [_open_run(folder, name, split) for folder, name in zip(folders, _distinguish(paths), strict=True)]
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
            scores={name: _number(value) for name, value in {**report["mean"], **report["total"]}.items()},
            examples=_by_name(report["images"]),
            config=flatten(ConfigDict(report["config"])),
            curves=curves.read(storage.read(workdir / "metrics.jsonl")),
        )
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f"{folder / 'metrics.json'}: damaged, or of another version; run {remedy}") from error


def _latest_evaluation(workdir: epath.Path, split: str, remedy: str) -> tuple[int, epath.Path]:
    place, name = workdir / "eval", re.compile(rf"{split}-(\d+)")
    matches = [(name.fullmatch(path.name), path) for path in place.iterdir()] if place.exists() else []
    steps = {int(match[1]): path for match, path in matches if match and (path / "metrics.json").exists()}
    if not steps:
        raise UserError(f"{workdir}: no evaluation of {split} in it; run {remedy}")
    return max(steps.items())


def _by_name(images: list[dict]) -> dict[tuple[str, int], gallery.Row]:
    """Keys the examples by name and occurrence, as names may repeat in subfolders.

    Raises what damaged entries raise: a stranger's metrics.json may hold anything, also paths outside its folder.
    """
    seen: collections.Counter[str] = collections.Counter()
    examples = {}
    for entry in images:
        name, files = entry["name"], {column: entry["files"][column] for column in ("input", "output", "target")}
        for path in files.values():
            if path.startswith(("/", "~")) or ".." in path.split("/") or "\0" in path:
                raise ValueError(path)
        metrics = {metric: _number(value) for metric, value in metrics_of(entry).items()}
        examples[name, seen[name]] = gallery.Row(name, files, metrics)
        seen[name] += 1
    return examples


def _number(value: float | None) -> float:
    """Returns a metric's value: NaN for JSON's null. Raises TypeError or OverflowError if it is no number."""
    return math.nan if value is None else float(operator.pos(value))


def _score_table(runs: Sequence[Run]) -> gallery.Table:
    head = ["run", "step", "examples"]
    rows = [[run.name, str(run.step), str(len(run.examples))] for run in runs]
    best = set()
    for metric in sorted({metric for run in runs for metric in run.scores}):
        values = {row: run.scores[metric] for row, run in enumerate(runs) if metric in run.scores}
        known = {row: value for row, value in values.items() if math.isfinite(value)}
        if len(known) > 1:  # else there is nothing to compare
            extreme = min(known.values()) if metric in LOWER_IS_BETTER else max(known.values())
            best |= {(row, len(head)) for row, value in known.items() if value == extreme}
        head.append(f"{metric} {_DOWN if metric in LOWER_IS_BETTER else _UP}")
        for number, row in enumerate(rows):
            row.append(_format(values[number]) if number in values else "")
    return gallery.Table("Scores", head, rows, best)


def _format(value: float) -> str:
    if not math.isfinite(value):
        return "n/a"
    return f"{value:#.4g}" if abs(value) < 1000 else f"{value:.0f}"


def _config_table(runs: Sequence[Run]) -> list[gallery.Table]:
    fields = dict.fromkeys(field for run in runs for field in run.config)
    rows = [[field, *(_text(run.config.get(field, "")) for run in runs)] for field in fields]  # versions may lack some
    differing = [row for row in rows if len(set(row[1:])) > 1]
    head = ("config", *(run.name for run in runs))
    return [gallery.Table("Fields of the config that differ", head, differing)] if differing else []


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _markdown(table: gallery.Table) -> str:
    head, *rows = ([_MARKUP.sub(r"\\\g<0>", printable(text)) for text in cells] for cells in (table.head, *table.rows))
    for row, column in table.best:
        rows[row][column] = f"**{rows[row][column]}**"
    rule = ["---", *["---:"] * (len(head) - 1)]
    lines = (f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
    return "\n".join((f"{table.title}:", "", *lines, ""))


def _copy_example(
    runs: Sequence[Run], columns: Sequence[str], index: int, key: tuple[str, int], folder: epath.Path
) -> tuple[gallery.Row, bool]:
    """Copies an example's images; returns the gallery's row, and whether all runs have the same target."""
    outputs = {column: _picture(run, key, "output") for column, run in zip(columns, runs, strict=True)}
    targets = [_picture(run, key, "target") for run in runs]
    pictures = {"input": _picture(runs[0], key, "input"), **outputs, "target": targets[0]}
    # Files are named by number, as a run's name may not be a valid file name.
    paths = {column: f"images/{index:05d}-{place}.png" for place, column in enumerate(pictures)}
    for column, picture in pictures.items():
        storage.write(folder / paths[column], picture)
    metrics = {column: run.examples[key].metrics for column, run in zip(columns, runs, strict=True)}
    row = gallery.Row(name=key[0], images=paths, metrics={}, column_metrics=metrics)
    return row, all(target == targets[0] for target in targets)


def _picture(run: Run, key: tuple[str, int], column: str) -> bytes:
    path = run.folder / run.examples[key].images[column]
    try:
        picture = storage.read(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not picture:
        raise UserError(f"{path}: missing, though {run.folder / 'metrics.json'} names it; evaluate again")
    return picture
