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

from pix2pix_jax.evaluation import gallery

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
        "column_metrics": {},
    }
    assert list(first["images"]) == ["input", "output", "target"]
    assert (second["name"], second["metrics"]) == ("b", {"l1": 0.75})


def test_means_and_directions(index):
    rows = [make_row("a"), make_row("b", metrics={"l1": 0.75})]
    means = {m["name"]: m for m in embedded(write(index, rows))["metrics"]}
    assert (means["l1"]["mean"], means["psnr"]["mean"]) == (0.5, 20.0)
    assert (means["l1"]["lower_is_better"], means["psnr"]["lower_is_better"]) == (True, False)


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
    assert (data["column_metrics"], data["totals"], data["above"]) == ([], [], [])


def test_values_of_the_whole_set(index):
    totals = {"mean_iou": math.inf, "fid": 119.1, "kid": math.nan}
    data = embedded(write(index, [make_row()], totals=totals))
    assert data["totals"] == [
        {"name": "fid", "lower_is_better": True, "value": 119.1},
        {"name": "kid", "lower_is_better": True, "value": None},
        {"name": "mean_iou", "lower_is_better": False, "value": "Infinity"},
    ]
    assert [m["name"] for m in data["metrics"]] == ["l1", "psnr"]


def make_comparison(order=("input", "b", "a", "target")):
    images = {column: f"images/{column}.png" for column in (*order, "more")}
    values = {"a": {"psnr": math.inf, "l1": 0.5}, "b": {"l1": math.nan}}
    return gallery.Row("x", images, {}, {run: values[run] for run in order if run in values})


def test_columns_in_the_order_asked_for(index):
    data = embedded(write(index, [make_comparison()], columns=("input", "b", "absent", "a", "target")))
    assert data["columns"] == list(data["rows"][0]["images"]) == ["input", "b", "a", "target", "more"]


def test_metrics_of_columns(index):
    data = embedded(write(index, [make_comparison()], columns=("input", "b", "a", "target")))
    assert data["rows"][0]["column_metrics"] == {"a": {"l1": 0.5, "psnr": "Infinity"}, "b": {"l1": None}}
    assert data["column_metrics"] == [
        {"name": "l1", "column": "b", "lower_is_better": True},
        {"name": "l1", "column": "a", "lower_is_better": True},
        {"name": "psnr", "column": "a", "lower_is_better": False},
    ]
    assert data["metrics"] == []  # whose means would be those of a few examples


def test_tables_and_pictures_above(index):
    table = gallery.Table("T", ("run", "l1 \u2193"), [("a", "0.5"), ("b", "0.2")], {(1, 1)})
    data = embedded(write(index, [], above=[table, gallery.Picture("C", "cur ves.svg")]))
    assert data["above"] == [
        {
            **{"kind": "table", "title": "T", "head": ["run", "l1 \u2193"]},
            **{"rows": [["a", "0.5"], ["b", "0.2"]], "best": [[1, 1]]},
        },
        {"kind": "picture", "title": "C", "path": "cur%20ves.svg"},
    ]
    with pytest.raises(ValueError, match="absolute"):
        write(index, [], above=[gallery.Picture("C", "/curves.svg")])


def test_order_of_rows_columns_and_metrics_does_not_matter(index):
    rng = random.Random(0)
    rows = [make_row(str(i), metrics={"l1": rng.random(), "ssim": rng.random()}) for i in range(50)]
    rows.append(make_row("7", metrics={"ssim": 0.5}))  # a name twice
    rows.append(make_comparison())
    page = write(index, rows)
    rng.shuffle(rows)
    turned = [
        gallery.Row(r.name, *(dict(reversed(d.items())) for d in (r.images, r.metrics, r.column_metrics))) for r in rows
    ]
    assert write(index, turned) == page


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(index, text):
    plain = parse(write(index, [make_row()]))
    row = make_row(text, images={text: f"images/{text}.png"}, metrics={text: 1.0})
    compared = make_row(images={text: "a.png"}, metrics={"l1": 1.0})
    compared.column_metrics[text] = {text: 1.0}
    above = [gallery.Table(text, [text], [[text]]), gallery.Picture(text, "a.svg")]
    page = write(index, [row, compared], title=text, subtitle=text, totals={text: 1.0}, above=above)
    assert page.isascii()
    # The same elements as for a harmless name: nothing was closed, opened or turned into an event.
    assert parse(page).tags == plain.tags
    assert parse(page).scripts[1:] == plain.scripts[1:]
    data = embedded(page)
    shown = next(r for r in data["rows"] if r["name"] == text)
    assert [data["title"], data["subtitle"], data["totals"][0]["name"], data["above"][0]["rows"][0][0]] == [text] * 4
    assert (list(shown["images"]), list(shown["metrics"])) == ([text], [text])
    assert data["column_metrics"][0]["column"] == text


@pytest.mark.parametrize("name", HOSTILE + ["javascript:alert(1)", "a\\b", "\udce9"])
def test_image_urls_are_percent_encoded(index, name):
    path = f"{name}.png"
    url = embedded(write(index, [make_row(images={"input": path})]))["rows"][0]["images"]["input"]
    assert re.fullmatch(r"[\w.~/%-]+", url, re.ASCII)
    assert urllib.parse.unquote(url, errors="surrogateescape") == path


@hypothesis.given(st.text(), st.floats())
@hypothesis.settings(deadline=None)
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
