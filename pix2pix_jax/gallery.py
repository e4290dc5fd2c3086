"""The evaluation gallery: one index.html beside its images, opened from disk without a network."""

import dataclasses
import importlib.resources
import json
import math
import urllib.parse
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Protocol

_FIRST_COLUMNS = ("input", "output", "target")


class _WritablePath(Protocol):
    """The one method asked of a path, so that pathlib and epath (gs://) both serve."""

    def write_text(self, data: str, /, encoding: str) -> int: ...


@dataclasses.dataclass(frozen=True)
class Row:
    """One example of the gallery.

    Attributes:
      name: the example's name, any text.
      images: column (input, output, target or another) to the image's path relative to index.html,
        with forward slashes, not percent-encoded.
      metrics: metric to its value for this example; NaN and infinities are allowed.
    """

    name: str
    images: dict[str, str]
    metrics: dict[str, float]


def write_gallery(
    path: _WritablePath,
    *,
    title: str,
    subtitle: str,
    rows: Sequence[Row],
    lower_is_better: Collection[str] = ("l1",),
) -> None:
    """Writes the page that shows `rows`, with their images, to `path` in a single write.

    The page depends on the set of rows, not on the order in which they or their columns and metrics
    come. The images themselves are neither read nor checked.

    Args:
      path: the page, usually index.html; any object with pathlib's `write_text`.
      title: heading of the page.
      subtitle: line under the heading, such as the split and the step.
      rows: the examples; they need not all have the same images and metrics.
      lower_is_better: the metrics of which a small value is good. Names no row has are ignored.

    Raises:
      ValueError: an image's path is absolute, so the gallery could not be moved.
      OSError: `path` cannot be written.
    """
    columns = _ordered((column for row in rows for column in row.images), first=_FIRST_COLUMNS)
    metrics = _ordered(metric for row in rows for metric in row.metrics)
    data = {
        "title": title,
        "subtitle": subtitle,
        "columns": columns,
        "metrics": [_summary(metric, rows, metric in lower_is_better) for metric in metrics],
        "rows": sorted((_row(row, columns, metrics) for row in rows), key=_sort_key),
    }
    template = importlib.resources.files("pix2pix_jax").joinpath("gallery.html")
    page = template.read_text(encoding="utf-8").replace("{{data}}", _script_json(data))
    path.write_text(page, encoding="utf-8")


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


def _row(row: Row, columns: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "name": row.name,
        "images": {column: _url(row.images[column]) for column in columns if column in row.images},
        "metrics": {metric: _json_number(row.metrics[metric]) for metric in metrics if metric in row.metrics},
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
