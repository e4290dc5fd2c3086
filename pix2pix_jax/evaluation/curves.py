"""Draws loss and metric curves of runs from their metrics.jsonl. The only importer of matplotlib.

Figures are made without pyplot: its state belongs to the whole process, which a library must not change.
"""

import io
import itertools
import json
import operator
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import EngFormatter, MaxNLocator

from pix2pix_jax.errors import printable
from pix2pix_jax.io import storage

POINTS = 150  # of a curve: a panel can show no more, and fewer points are smoother
_LARGEST, _LEAST_LOG = 1e100, 1e-100
# Okabe and Ito's colours, which colour-blind people can tell apart, without black, and without yellow, faint on white.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_LINES = tuple(itertools.product(("-", "--", ":", "-."), _COLORS))
_PANEL = (4.4, 2.7)  # inches
_STYLE = {
    "svg.fonttype": "none",  # text stays text: files are small, and the viewer's fonts have the glyphs that ours lacks
    "svg.hashsalt": "pix2pix_jax",  # the same file every time
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
}


class Series(NamedTuple):
    """Holds a curve: `steps` int64 (N,), not decreasing; `values` float64 (N,), all finite."""

    steps: np.ndarray
    values: np.ndarray


def write(workdir: epath.PathLike) -> None:
    """Draws the curves of a run's metrics.jsonl to its curves.png and curves.svg. Raises OSError if it cannot write."""
    folder = storage.folder(workdir)
    write_files({folder.name: read(storage.read(folder / "metrics.jsonl"))}, folder)


def write_files(runs: Mapping[str, Mapping[str, Series]], folder: epath.Path) -> bool:
    """Writes curves.png and curves.svg to a folder; returns False and writes nothing if no run has a curve."""
    if not any(runs.values()):
        return False  # imported weights have no curves
    for kind, picture in draw(runs).items():
        storage.write(folder / f"curves.{kind}", picture)
    return True


def read(content: bytes) -> dict[str, Series]:
    """Reads the curves in a metrics.jsonl, by name and in the order of their first appearance.

    Leaves out what cannot be drawn: lines cut short (the run may go on), and values that are null, not numbers, not
    finite, or too large for the axes' float64 arithmetic.
    """
    points: dict[str, list[tuple[int, float]]] = {}
    for line in content.splitlines():
        try:
            entry = json.loads(line)
            step = int(entry.pop("step"))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            continue
        for name, value in entry.items():
            if name != "time" and type(value) in (int, float) and abs(value) < _LARGEST:  # a bool is an int too
                points.setdefault(name, []).append((step, value))
    curves = {}
    for name, pairs in points.items():
        steps, values = zip(*sorted(pairs, key=operator.itemgetter(0)), strict=True)
        curves[name] = Series(np.array(steps, np.int64), np.array(values, np.float64))
    return curves


def draw(runs: Mapping[str, Mapping[str, Series]]) -> dict[str, bytes]:
    """Draws a panel for each name of a curve, with the curves of all runs that have it.

    A curve of more than `POINTS` points is drawn as the means of `POINTS` stretches of equal length. If there is only
    one run, a pale band shows the range of each stretch; several would cover one another. The scale is logarithmic if
    all values are positive and span a factor of 100 or more: on a linear one the first steps of a loss, or a spike,
    would flatten the rest.

    `runs` maps the name of a run, any text, to its curves, as returned by `read`. Returns {"png": ..., "svg": ...}, the
    contents of the files, the same for the same runs. Raises ValueError if there is no curve.
    """
    names = list(dict.fromkeys(name for curves in runs.values() for name in curves))
    if not names:
        raise ValueError("no curves to draw")
    # Glyphs that our font lacks are boxes in the PNG; a warning would not help the user.
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        figure = _figure(names, runs)
        figure.draw_without_rendering()  # computes the layout once for both files
        figure.set_layout_engine("none")
        files = {"png": io.BytesIO(), "svg": io.BytesIO()}
        for kind, file in files.items():
            figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)
        return {kind: file.getvalue() for kind, file in files.items()}


def _figure(names: Sequence[str], runs: Mapping[str, Mapping[str, Series]]) -> Figure:
    columns = min(len(names), 3 if len(names) != 4 else 2)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(_PANEL[0] * columns, _PANEL[1] * rows + 0.3), dpi=110, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    styles = {run: {"color": c, "linestyle": d} for run, (d, c) in zip(runs, itertools.cycle(_LINES), strict=False)}
    for name, panel in zip(names, panels, strict=False):
        curves = {run: _thin(series[name]) for run, series in runs.items() if name in series}
        _draw_panel(panel, name, curves, styles=styles)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    if len(runs) > 1:
        handles = [Line2D([], [], linewidth=2, **style) for style in styles.values()]
        legend = figure.legend(handles, list(styles), loc="outside upper left", frameon=False, ncols=columns)
        for text, run in zip(legend.get_texts(), styles, strict=True):
            _set_plain(text, run)
    return figure


class _Curve(NamedTuple):
    """Holds what is drawn: steps, means, minima and maxima of N stretches, (N,) each."""

    steps: np.ndarray
    means: np.ndarray
    low: np.ndarray
    high: np.ndarray


def _thin(series: Series) -> _Curve:
    """Thins a series to at most `POINTS` stretches of equal length in steps."""
    steps, values = series.steps, series.values
    if len(steps) <= POINTS:
        return _Curve(steps, values, values, values)
    edges = np.linspace(steps[0], steps[-1], POINTS + 1)[:-1]
    starts = np.unique(np.searchsorted(steps, edges))  # stretches without a point fall away
    counts = np.diff(np.append(starts, len(steps)))
    mean_steps, means = (np.add.reduceat(x / counts.repeat(counts), starts) for x in (steps, values))
    return _Curve(mean_steps, means, np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts))


def _draw_panel(panel: Axes, name: str, curves: Mapping[str, _Curve], *, styles: Mapping[str, dict]) -> None:
    _set_plain(panel.set_title("", fontsize=10), name)
    panel.set_xlabel("step")
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))  # 80k
    banded = len(styles) == 1
    drawn = np.concatenate([edge for c in curves.values() for edge in ((c.low, c.high) if banded else (c.means,))])
    if drawn.min() > _LEAST_LOG and drawn.max() >= 100 * drawn.min():
        panel.set_yscale("log")
    for run, curve in curves.items():
        marker = "o" if len(curve.steps) <= 30 else ""  # a single point makes no line
        panel.plot(curve.steps, curve.means, linewidth=1.3, marker=marker, markersize=3.5, **styles[run])
        if banded:
            panel.fill_between(curve.steps, curve.low, curve.high, color=styles[run]["color"], alpha=0.15, linewidth=0)


def _set_plain(text: Text, content: str) -> None:
    """Sets a text that may be anything: dollars begin no formula, and line ends are escaped."""
    text.set_parse_math(False)
    text.set_text(printable(content))
