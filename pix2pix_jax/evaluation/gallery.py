"""Writes a gallery: one index.html beside its images, which opens from disk without a network."""

import dataclasses
import importlib.resources
import json
import math
import urllib.parse
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from etils import epath

from pix2pix_jax.io import storage
from pix2pix_jax.metrics import LOWER_IS_BETTER


@dataclasses.dataclass(frozen=True)
class Row:
    """Holds one example of the gallery."""

    name: str  # any text
    # Column (input, output, target or another) -> path relative to index.html, with forward slashes, not URL-encoded.
    images: dict[str, str]
    metrics: dict[str, float]  # metric -> its value for this example; NaN and infinities are allowed
    # Column -> its own metrics, if several columns are compared.
    column_metrics: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Table:
    """Holds a table above the examples."""

    title: str
    head: Sequence[str]  # the columns' names
    rows: Sequence[Sequence[str]]  # the text of each row's cells, as many as `head` has; the first names the row
    best: Collection[tuple[int, int]] = ()  # (row, column) of each cell to emphasise


@dataclasses.dataclass(frozen=True)
class Picture:
    """Holds an image above the examples."""

    title: str
    path: str  # relative to index.html, as in `Row`


def write_gallery(
    path: epath.PathLike,
    *,
    title: str,
    subtitle: str,
    rows: Sequence[Row],
    totals: Mapping[str, float] | None = None,
    columns: Sequence[str] = ("input", "output", "target"),
    above: Sequence[Table | Picture] = (),
) -> None:
    """Writes the page that shows `rows`, whole or not at all; it neither reads nor checks their images.

    The page does not depend on the order of the rows, of their columns and of their metrics.

    Args:
      path: path of the page, local or gs://.
      title, subtitle: heading of the page, and the line under it.
      rows: the examples; they need not all have the same images and metrics.
      totals: metric -> value of the whole set, such as FID, shown beside the means; NaN and infinities are allowed.
      columns: the first columns, from left to right; others follow by name.
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
        "totals": [_named(name) | {"value": value} for name, value in sorted((totals or {}).items())],
        "metrics": [_summary(metric, rows) for metric in metrics],
        "column_metrics": _column_metrics(rows, columns),
        # Rows of the same name are ordered by their whole content.
        "rows": sorted((_row(row, columns) for row in rows), key=lambda row: (row["name"], json.dumps(row))),
    }
    template = importlib.resources.files("pix2pix_jax.evaluation").joinpath("gallery.html")
    page = template.read_text(encoding="utf-8").replace("{{data}}", _script_json(data))
    storage.write(epath.Path(path), page.encode())


def _above(part: Table | Picture) -> dict[str, Any]:
    if isinstance(part, Picture):
        return {"kind": "picture", "title": part.title, "path": _url(part.path)}
    return {"kind": "table", **dataclasses.asdict(part), "best": sorted(part.best)}


def _ordered(names: Iterable[str], first: Sequence[str] = ()) -> list[str]:
    """Returns the distinct names: those in `first` in its order, then the others sorted."""
    distinct = set(names)
    return [name for name in first if name in distinct] + sorted(distinct.difference(first))


def _named(metric: str) -> dict[str, Any]:
    return {"name": metric, "lower_is_better": metric in LOWER_IS_BETTER}


def _summary(metric: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Returns a metric's direction and mean; `left_out` counts the values that are not finite."""
    values = [float(row.metrics[metric]) for row in rows if metric in row.metrics]
    finite = [value for value in values if math.isfinite(value)]
    # fsum is exact, so the mean does not depend on the order.
    mean = math.fsum(finite) / len(finite) if finite else None
    return _named(metric) | {"mean": mean, "left_out": len(values) - len(finite)}


def _column_metrics(rows: Sequence[Row], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the metrics of each column, without means: those of a few examples would be taken for the whole set's."""
    known = {(metric, column) for row in rows for column, values in row.column_metrics.items() for metric in values}
    return [
        _named(metric) | {"column": column}
        for metric in _ordered(metric for metric, _ in known)
        for column in _ordered((column for _, column in known), first=columns)
        if (metric, column) in known
    ]


def _row(row: Row, columns: Sequence[str]) -> dict[str, Any]:
    return {
        "name": row.name,
        "images": {column: _url(row.images[column]) for column in columns if column in row.images},
        "metrics": dict(sorted(row.metrics.items())),
        "column_metrics": {
            column: dict(sorted(values.items())) for column, values in sorted(row.column_metrics.items())
        },
    }


def _url(path: str) -> str:
    """Encodes `path` as a relative URL. A colon is encoded too, so no name can pass for a URL scheme."""
    if path.startswith("/"):
        raise ValueError(f"image path {path!r} is absolute; give it relative to index.html")
    # Python reads file names that are not UTF-8 with surrogateescape; this gives the bytes back.
    return urllib.parse.quote(path, errors="surrogateescape")


def _script_json(data: Any) -> str:
    """Encodes JSON that is safe in a <script> element: ASCII, without the < that could end it.

    NaN becomes null, and an infinity its name in JavaScript: the PSNR of equal images must still sort as the best.
    """
    data = json.loads(json.dumps(data), parse_constant=lambda name: None if name == "NaN" else name)
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
