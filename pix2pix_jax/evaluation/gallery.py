"""The gallery: one index.html beside its images, opened from disk without a network."""

import dataclasses
import importlib.resources
import json
import math
import urllib.parse
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from etils import epath

from pix2pix_jax.io import storage


@dataclasses.dataclass(frozen=True)
class Row:
    """One example of the gallery.

    Attributes:
      name: the example's name, any text.
      images: column (input, output, target or another) to the image's path relative to index.html,
        with forward slashes, not percent-encoded.
      metrics: metric to its value for this example; NaN and infinities are allowed.
      column_metrics: column to such metrics of its own, where several columns are compared.
    """

    name: str
    images: dict[str, str]
    metrics: dict[str, float]
    column_metrics: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table above the examples.

    Attributes:
      title: its caption.
      head: the columns' names.
      rows: the cells' text, as many a row as `head` has; the first of a row names it.
      best: (row, column) of the cells to be emphasised.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: Collection[tuple[int, int]] = ()


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture above the examples; `path` is relative to index.html, as those of a Row."""

    title: str
    path: str


def write_gallery(
    path: epath.PathLike,
    *,
    title: str,
    subtitle: str,
    rows: Sequence[Row],
    lower_is_better: Collection[str] = ("l1",),
    totals: Mapping[str, float] | None = None,
    columns: Sequence[str] = ("input", "output", "target"),
    above: Sequence[Table | Picture] = (),
) -> None:
    """Writes the page that shows `rows`, with their images, to `path`, whole or not at all.

    The page depends on the set of rows, not on the order in which they or their columns and metrics
    come. The images themselves are neither read nor checked.

    Args:
      path: the page, usually index.html; on a disk or gs://.
      title: heading of the page.
      subtitle: line under the heading, such as the split and the step.
      rows: the examples; they need not all have the same images and metrics.
      lower_is_better: the metrics of which a small value is good. Names no row has are ignored.
      totals: metric to its value, for metrics of the whole set that no single example has, such as
        FID; NaN and infinities are allowed. They are shown beside the means of the others.
      columns: those that come first, from left to right; the others follow by name.
      above: tables and pictures between the heading and the examples.

    Raises:
      ValueError: an image's path is absolute, so the gallery could not be moved.
      OSError: `path` cannot be written.
    """
    columns = _ordered((column for row in rows for column in row.images), first=columns)
    metrics = _ordered(metric for row in rows for metric in row.metrics)
    data = {
        "title": title,
        "subtitle": subtitle,
        "above": [_above(part) for part in above],
        "columns": columns,
        "totals": [
            {"name": name, "lower_is_better": name in lower_is_better, "value": _json_number(value)}
            for name, value in sorted((totals or {}).items())
        ],
        "metrics": [_summary(metric, rows, metric in lower_is_better) for metric in metrics],
        "column_metrics": _column_metrics(rows, columns, lower_is_better),
        "rows": sorted((_row(row, columns, metrics) for row in rows), key=_sort_key),
    }
    template = importlib.resources.files("pix2pix_jax.evaluation").joinpath("gallery.html")
    page = template.read_text(encoding="utf-8").replace("{{data}}", _script_json(data))
    storage.write(epath.Path(path), page.encode())


def _above(part: Table | Picture) -> dict[str, Any]:
    if isinstance(part, Picture):
        return {"kind": "picture", "title": part.title, "path": _url(part.path)}
    best = sorted(part.best)
    return {"kind": "table", "title": part.title, "head": [*part.head], "rows": [[*r] for r in part.rows], "best": best}


def _ordered(names: Iterable[str], first: Sequence[str] = ()) -> list[str]:
    """The distinct names: those in `first` in its order, then the others sorted."""
    found = set(names)
    return [name for name in first if name in found] + sorted(found.difference(first))


def _summary(metric: str, rows: Sequence[Row], lower_is_better: bool) -> dict[str, Any]:
    """A metric's direction and mean; `left_out` counts the values too odd to enter the mean."""
    values = [float(row.metrics[metric]) for row in rows if metric in row.metrics]
    finite = [value for value in values if math.isfinite(value)]
    # fsum is exact, hence the same in every order.
    mean = math.fsum(finite) / len(finite) if finite else None
    return {
        "name": metric,
        "lower_is_better": lower_is_better,
        "mean": mean,
        "left_out": len(values) - len(finite),
    }


def _column_metrics(rows: Sequence[Row], columns: Sequence[str], lower_is_better: Collection[str]) -> list[dict]:
    """Which metrics each column has. No means: the examples are a choice, whose means would be taken for the set's."""
    found = {(metric, column) for row in rows for column, values in row.column_metrics.items() for metric in values}
    return [
        {"name": metric, "column": column, "lower_is_better": metric in lower_is_better}
        for metric in _ordered(metric for metric, _ in found)
        for column in _ordered((column for _, column in found), first=columns)
        if (metric, column) in found
    ]


def _row(row: Row, columns: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "name": row.name,
        "images": {column: _url(row.images[column]) for column in columns if column in row.images},
        "metrics": {metric: _json_number(row.metrics[metric]) for metric in metrics if metric in row.metrics},
        "column_metrics": {
            column: {metric: _json_number(value) for metric, value in sorted(row.column_metrics[column].items())}
            for column in sorted(row.column_metrics)
        },
    }


def _sort_key(row: dict[str, Any]) -> tuple[str, str]:
    # Names may repeat; the whole row settles the order then.
    return row["name"], json.dumps(row)


def _url(path: str) -> str:
    """`path` as a relative URL. A colon is encoded too, so no name can pass for a URL scheme."""
    if path.startswith("/"):
        raise ValueError(f"image path {path!r} is absolute; give it relative to index.html")
    # surrogateescape is how Python spells file names that are not UTF-8: this gives the bytes back.
    return urllib.parse.quote(path, errors="surrogateescape")


def _json_number(value: float) -> float | str | None:
    """A JSON value for any float: null for NaN, and what JavaScript calls an infinity."""
    value = float(value)
    if math.isnan(value):
        return None
    # A PSNR is infinite where output and target are equal: it must still sort as the best.
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def _script_json(data: Any) -> str:
    """JSON that is safe in a <script> element: in ASCII, and without the < that could end it."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
