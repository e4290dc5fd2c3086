"""The gallery's page: what it says, that no name can break it, and that it needs nothing else."""

import html.parser
import json
import math
import random
import re
import urllib.parse

import hypothesis
import pytest
from etils import epath
from hypothesis import strategies as st

from pix2pix_jax import gallery

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "\"'&amp;<b>\\",
    "two\nlines\u2028and\ttab",
    "\u6f22\u5b57 \u00fc \U0001f3e0",
    "100% #1?",
    "{{data}}",
    "$title ${title}",
    "__proto__",
]


def make_row(name="a", *, images=None, metrics=None):
    columns = ("input", "output", "target")
    images = images or {column: f"images/{column}/{name}.png" for column in columns}
    return gallery.Row(name, images, metrics or {"l1": 0.25, "psnr": 20.0})


def write(path, rows, *, title="facades", subtitle="val, step 100", **kwargs):
    """The page written for `rows`."""
    gallery.write_gallery(path, title=title, subtitle=subtitle, rows=rows, **kwargs)
    return path.read_text(encoding="utf-8")


class Parser(html.parser.HTMLParser):
    """Collects the start tags of a page and the text of its scripts, in order."""

    def __init__(self):
        super().__init__()
        self.tags, self.scripts = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script":
            self.scripts[-1] += data


def parse(page):
    parser = Parser()
    parser.feed(page)
    parser.close()
    return parser


def embedded(page):
    """The page's data, read as strictly as a browser's JSON.parse does."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(parse(page).scripts[0], parse_constant=refuse)


@pytest.fixture
def index(tmp_path):
    return tmp_path / "index.html"


def test_rows_come_back_in_the_page(index):
    data = embedded(write(index, [make_row("a"), make_row("b", metrics={"l1": 0.75})]))
    assert (data["title"], data["subtitle"]) == ("facades", "val, step 100")
    assert data["columns"] == ["input", "output", "target"]
    first, second = data["rows"]
    assert first == {
        "name": "a",
        "images": {
            "input": "images/input/a.png",
            "output": "images/output/a.png",
            "target": "images/target/a.png",
        },
        "metrics": {"l1": 0.25, "psnr": 20.0},
    }
    assert list(first["images"]) == ["input", "output", "target"]
    assert (second["name"], second["metrics"]) == ("b", {"l1": 0.75})


def test_means_and_directions(index):
    rows = [make_row("a"), make_row("b", metrics={"l1": 0.75})]
    means = {m["name"]: m for m in embedded(write(index, rows))["metrics"]}
    assert (means["l1"]["mean"], means["psnr"]["mean"]) == (0.5, 20.0)
    assert (means["l1"]["lower_is_better"], means["psnr"]["lower_is_better"]) == (True, False)
    means = embedded(write(index, rows, lower_is_better=("psnr", "absent")))["metrics"]
    assert [m["lower_is_better"] for m in means] == [False, True]


def test_values_that_are_not_finite(index):
    values = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 3.0}
    data = embedded(write(index, [make_row(n, metrics={"psnr": v}) for n, v in values.items()]))
    shown = [row["metrics"]["psnr"] for row in data["rows"]]
    assert shown == [None, "Infinity", "-Infinity", 3.0]
    assert data["metrics"] == [{"name": "psnr", "lower_is_better": False, "mean": 3.0, "left_out": 3}]


def test_a_mean_of_nothing_is_null(index):
    data = embedded(write(index, [make_row(metrics={"l1": math.nan})]))
    assert data["metrics"][0]["mean"] is None


def test_no_rows(index):
    data = embedded(write(index, []))
    assert (data["rows"], data["columns"], data["metrics"]) == ([], [], [])


def test_order_of_rows_columns_and_metrics_does_not_matter(index):
    rng = random.Random(0)
    rows = [make_row(str(i), metrics={"l1": rng.random(), "ssim": rng.random()}) for i in range(50)]
    rows.append(make_row("7", metrics={"ssim": 0.5}))  # a name twice
    page = write(index, rows)
    rng.shuffle(rows)
    turned = [gallery.Row(r.name, dict(reversed(r.images.items())), dict(reversed(r.metrics.items()))) for r in rows]
    assert write(index, turned) == page


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(index, text):
    plain = parse(write(index, [make_row()]))
    row = make_row(text, images={text: f"images/{text}.png"}, metrics={text: 1.0})
    page = write(index, [row], title=text, subtitle=text)
    assert page.isascii()
    # The same elements as for a harmless name: nothing was closed, opened or turned into an event.
    assert parse(page).tags == plain.tags
    assert parse(page).scripts[1:] == plain.scripts[1:]
    data = embedded(page)
    assert [data["title"], data["subtitle"], data["rows"][0]["name"]] == [text] * 3
    assert (list(data["rows"][0]["images"]), data["metrics"][0]["name"]) == ([text], text)


@pytest.mark.parametrize("name", HOSTILE + ["javascript:alert(1)", "a\\b", "\udce9"])
def test_image_urls_are_percent_encoded(index, name):
    path = f"{name}.png"
    url = embedded(write(index, [make_row(images={"input": path})]))["rows"][0]["images"]["input"]
    assert re.fullmatch(r"[\w.~/%-]+", url, re.ASCII)
    assert urllib.parse.unquote(url, errors="surrogateescape") == path


@hypothesis.given(st.text(), st.floats())
def test_any_text_and_any_number(tmp_path_factory, text, value):
    index = tmp_path_factory.getbasetemp() / "any.html"
    row = embedded(write(index, [make_row(text, metrics={"m": value})]))["rows"][0]
    assert row["name"] == text
    back = row["metrics"]["m"]
    assert math.isnan(value) if back is None else float(back) == value


def test_an_absolute_image_path_is_an_error(index):
    with pytest.raises(ValueError, match="'//host/a.png' is absolute"):
        write(index, [make_row(images={"input": "//host/a.png"})])
    assert not index.exists()


def test_an_epath_serves_as_well(tmp_path):
    assert embedded(write(epath.Path(tmp_path) / "index.html", [make_row()]))["rows"]


def test_the_page_stands_alone(index):
    page = write(index, [make_row()])
    assert not re.search(r"https?:|\bfetch\(|XMLHttpRequest|\bimport\b|@import|url\(", page)
    tags = parse(page).tags
    assert not [tag for tag, attrs in tags if tag == "link" or "src" in attrs]
    # The script finds elements by id; one that is missing would stop it.
    ids = {attrs["id"] for _, attrs in tags if "id" in attrs}
    assert set(re.findall(r'\$\("(\w[\w-]*)"\)', page)) <= ids
