"""Curves: what is read of a log, and what can be seen in the pictures."""

import io
import json
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from pix2pix_jax.evaluation import curves

BLUE = (0x00, 0x72, 0xB2)  # the first run


def log(*values, name="g_l1", every=1):
    """A metrics.jsonl of one metric."""
    lines = [{"step": every * (i + 1), "time": 1.7e9 + i, name: value} for i, value in enumerate(values)]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def series(*values, **kwargs):
    return curves.read(log(*values, **kwargs))


def texts(svg):
    """The text elements of a picture, whole."""
    root = ElementTree.fromstring(svg)
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


def is_log(pictures):
    return b"10^{" in pictures["svg"]


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def count(png, color):
    """Of pixels near a colour."""
    return (np.abs(pixels(png) - color).max(axis=-1) < 24).sum()


def test_names_in_the_order_of_the_log_and_steps_that_are_sparse():
    content = b'{"step": 2, "time": 1, "g_l1": 0.5, "d_real": 1}\n{"step": 9, "time": 2, "val/l1": 3}\n'
    content += b'{"step": 4, "time": 3, "g_l1": 0.25}\n{"step": 3, "time": 4, "g_l1": 0.75}\n'
    found = curves.read(content)
    assert list(found) == ["g_l1", "d_real", "val/l1"]
    assert found["g_l1"].steps.tolist() == [2, 3, 4]
    assert found["g_l1"].values.tolist() == [0.5, 0.75, 0.25]
    assert (found["val/l1"].steps.tolist(), found["val/l1"].values.tolist()) == ([9], [3.0])


@pytest.mark.parametrize(
    "line",
    [
        '{"step": 3, "g_l',
        '{"step": 3, "x": null}',
        '{"step": 3, "x": NaN, "y": -Infinity, "z": 1e200}',
        '{"step": 3, "x": "high", "y": [1], "z": true}',
        '{"step": null, "x": 1}',
        '{"x": 1}',
        "[1]",
        "7",
        "",
        "\xff",
    ],
)
def test_what_cannot_be_drawn_is_left_out(line):
    found = curves.read(log(0.5) + line.encode("latin-1") + b"\n" + log(0.25))
    assert list(found) == ["g_l1"]
    assert found["g_l1"].values.tolist() == [0.5, 0.25]


def test_nothing_to_draw():
    assert curves.read(b"") == {}
    with pytest.raises(ValueError, match="no curves"):
        curves.draw({"a": {}, "b": {}})


def test_a_panel_for_each_metric_and_a_legend_of_several_runs():
    one = curves.draw({"first": series(0.5, 0.25)})
    assert {"g_l1", "step"} <= set(texts(one["svg"])) and "first" not in texts(one["svg"])
    two = texts(curves.draw({"first": series(0.5, 0.25), "second": series(3, 4, name="val/l1")})["svg"])
    assert {"g_l1", "val/l1", "first", "second"} <= set(two)
    assert two.count("step") == 2


@pytest.mark.parametrize("name", ["$x_1$", "_base_", "a_b", "$\\frac{1}{0}$", "$", "<b>&amp;", "%", "\u6f22\u5b57"])
def test_names_are_shown_as_they_are(name):
    shown = texts(curves.draw({name: series(0.5, 0.25, name=name), "other": series(1)})["svg"])
    assert shown.count(name) == 2  # as a run's and as a metric's


def test_line_ends_in_names_are_escaped():
    assert "a\\nb" in texts(curves.draw({"x": series(0.5, name="a\nb")})["svg"])


def test_one_point_is_visible():
    assert count(curves.draw({"a": series(0.5)})["png"], BLUE) > 10


def test_a_logarithmic_scale_where_values_span_magnitudes():
    assert is_log(curves.draw({"a": series(100, 1, 1)}))
    assert not is_log(curves.draw({"a": series(99, 1, 1)}))
    assert not is_log(curves.draw({"a": series(100, 1, 0)}))
    assert not is_log(curves.draw({"a": series(100, 1, -1)}))
    assert is_log(curves.draw({"a": series(100), "b": series(1)}))


def test_long_curves_are_means_and_a_band_that_keeps_spikes():
    values = np.tile([1.0, 3.0], 5000)
    values[7000] = 9.0
    png = curves.draw({"a": series(*values)})["png"]
    line = np.abs(pixels(png) - BLUE).max(axis=-1) < 24
    assert (np.flatnonzero(line.any(axis=1)).size) < 15  # of the mean 2, smooth
    band = np.abs(pixels(png) - (np.array(BLUE) * 0.15 + 255 * 0.85)).max(axis=-1) < 4
    heights = np.flatnonzero(band.any(axis=1))
    assert np.ptp(heights) > 0.9 * 3 * np.ptp(np.flatnonzero(band.sum(axis=1) > 100))  # 1 to 9 against 1 to 3


@pytest.mark.parametrize("values", [(1e99,) * 200 + (1e-99,), (-1e99, 1e99) * 200, (0,) * 9, (1e-320, 1.0)])
def test_extreme_values(values):
    assert curves.draw({"a": series(*values)})["png"]


@pytest.mark.heavy
def test_a_long_run_is_drawn_soon_and_small():
    random = np.random.default_rng(0).random((80_000, 4))
    lines = [
        json.dumps({"step": i + 1, "time": 1.7e9, **dict(zip(("g_gan", "g_l1", "d_real", "d_fake"), row, strict=True))})
        for i, row in enumerate(random.tolist())
    ]
    start = time.process_time()
    pictures = curves.draw({"a": curves.read("\n".join(lines).encode())})
    assert time.process_time() - start < 10  # about 3 s of a slow core
    assert len(pictures["svg"]) < 400_000 and len(pictures["png"]) < 400_000


def test_the_same_files_every_time():
    runs = {"a": series(*range(400)), "b": series(5)}
    assert curves.draw(runs) == curves.draw(runs)


def test_no_state_is_shared_with_other_users_of_matplotlib():
    before = dict(matplotlib.rcParams)
    curves.draw({"a": series(1, 2)})
    assert dict(matplotlib.rcParams) == before
    program = "import sys; from pix2pix_jax.evaluation import curves; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
