"""Comparisons of evaluations of a tiny run: what is chosen, what is said to be best, what stands on its own."""

import json
import re
import shutil
import urllib.parse

import pytest

from pix2pix_jax.data.sources import datasets
from pix2pix_jax.errors import UserError
from pix2pix_jax.evaluation import compare, evaluate
from pix2pix_jax.inference import trained_model


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    """first/run, evaluated on 7 examples at steps 3 and 6; second/run: at step 3 on 5."""
    folder = tmp_path_factory.mktemp("runs")
    for name, steps, count in (("first", ("3", "6"), 7), ("second", ("3",), 5)):
        workdir = shutil.copytree(trained, folder / name / "run")
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(datasets._DRAWN_COUNT, "val", count)
            for step in steps:
                evaluate.evaluate(trained_model.load(workdir, step=step), workdir)
    change(folder / "second" / "run" / "eval" / "val-3", lambda report: report["config"].update(l1_weight=7.5))
    return folder


@pytest.fixture
def runs(evaluated, tmp_path):
    """A copy of `evaluated` to be changed: (first, second)."""
    folder = shutil.copytree(evaluated, tmp_path / "runs")
    return folder / "first" / "run", folder / "second" / "run"


def read(folder):
    return json.loads((folder / "metrics.json").read_text())


def change(folder, how):
    report = read(folder)
    how(report)
    (folder / "metrics.json").write_text(json.dumps(report))


def page_data(folder):
    page = (folder / "index.html").read_text()
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page)[1])


def table_rows(markdown):
    """Of the first table: [cells] of the head and the rows."""
    lines = [line for line in markdown.split("\n\n")[1].splitlines() if not line.startswith("| ---")]
    return [line[2:-2].split(" | ") for line in lines]


def test_the_table_is_of_the_latest_evaluations(runs, tmp_path):
    result = compare.compare(runs, output=tmp_path / "out")
    assert (tmp_path / "out" / "table.md").read_text() == result.table
    head, first, second = table_rows(result.table)
    assert head == ["run", "step", "examples", "l1 \u2193", "psnr \u2191", "ssim \u2191"]
    assert (first[:3], second[:3]) == (["first", "6", "7"], ["second", "3", "5"])
    for cells, folder in ((first, runs[0] / "eval" / "val-6"), (second, runs[1] / "eval" / "val-3")):
        mean = read(folder)["mean"]
        shown = [float(cell.strip("*")) for cell in cells[3:]]
        assert shown == pytest.approx([mean[metric] for metric in ("l1", "psnr", "ssim")], rel=1e-3)


def test_the_best_is_bold_in_the_metric_s_direction(runs, tmp_path):
    one, other = {"l1": 0.5, "psnr": 20.0, "ssim": None}, {"l1": 0.25, "psnr": 10.0, "ssim": 0.5}
    change(runs[0] / "eval" / "val-6", lambda report: report.update(mean=one, total={"fid": 1234.5, "kid": 0.5}))
    change(runs[1] / "eval" / "val-3", lambda report: report.update(mean=other, total={"fid": 99.5}))
    result = compare.compare(runs, output=tmp_path / "out")
    head, first, second = table_rows(result.table)
    assert head[3:] == ["fid \u2193", "kid \u2193", "l1 \u2193", "psnr \u2191", "ssim \u2191"]
    assert first[3:] == ["1234", "0.5000", "0.5000", "**20.00**", "n/a"]
    assert second[3:] == ["**99.50**", "", "**0.2500**", "10.00", "0.5000"]
    assert page_data(result.folder)["above"][0]["best"] == [[0, 6], [1, 3], [1, 5]]


def test_differing_fields_of_the_config(runs, tmp_path):
    table = compare.compare(runs, output=tmp_path / "out").table
    assert "| config | first | second |" in table
    assert re.findall(r"^\| l1_weight \|.*", table, re.MULTILINE) == ["| l1_weight | 100.0 | 7.5 |"]
    assert "seed" not in table


def test_the_page_shows_the_same_examples_of_all(runs, tmp_path):
    folder = compare.compare(runs, output=tmp_path / "out").folder
    data = page_data(folder)
    assert data["columns"] == ["input", "first", "second", "target"]
    assert [row["name"] for row in data["rows"]] == [f"val-{i:03d}" for i in range(5)]
    row, entry = data["rows"][3], read(runs[0] / "eval" / "val-6")["images"][3]
    assert row["column_metrics"]["first"] == {metric: entry[metric] for metric in ("l1", "psnr", "ssim")}
    places = {"input": runs[0] / "eval" / "val-6", "first": runs[0] / "eval" / "val-6"}
    places |= {"second": runs[1] / "eval" / "val-3", "target": runs[1] / "eval" / "val-3"}
    for column, place in places.items():
        original = place / "images" / f"00003-val-003-{column if column in ('input', 'target') else 'output'}.png"
        assert (folder / row["images"][column]).read_bytes() == original.read_bytes()
    assert "targets are not the same" not in data["subtitle"]
    assert [part["kind"] for part in data["above"]] == ["table", "table", "picture"]


def test_the_folder_stands_on_its_own(runs, tmp_path):
    folder = compare.compare(runs, output=tmp_path / "out").folder
    shutil.move(str(folder), tmp_path / "moved")
    shutil.rmtree(tmp_path / "runs")
    data = page_data(tmp_path / "moved")
    urls = [url for row in data["rows"] for url in row["images"].values()] + ["curves.svg", "curves.png"]
    assert all((tmp_path / "moved" / urllib.parse.unquote(url)).is_file() for url in urls)
    assert str(tmp_path) not in (tmp_path / "moved" / "index.html").read_text()


def test_examples_are_spread_over_the_split(runs, tmp_path):
    def names(*workdirs, **kwargs):
        data = page_data(compare.compare(workdirs, output=tmp_path / "out", **kwargs).folder)
        return [row["name"] for row in data["rows"]]

    assert names(runs[0], examples=3) == ["val-000", "val-003", "val-006"]
    assert names(*runs, examples=2) == ["val-000", "val-004"]
    assert names(runs[0], examples=1) == ["val-000"]


def test_one_run_alone(runs, tmp_path):
    result = compare.compare(runs[:1], output=tmp_path / "out")
    assert table_rows(result.table)[1][0] == "run" and "**" not in result.table
    assert "config" not in result.table
    assert page_data(result.folder)["columns"] == ["input", "run", "target"]


def test_names_that_repeat_in_a_split_are_kept_apart(runs, tmp_path):
    def rename(report):
        for entry in report["images"]:
            entry["name"] = "same"

    for workdir, step in zip(runs, (6, 3), strict=True):
        change(workdir / "eval" / f"val-{step}", rename)
    rows = page_data(compare.compare(runs, output=tmp_path / "out").folder)["rows"]
    assert [row["name"] for row in rows] == ["same"] * 5
    assert len({row["column_metrics"]["first"]["l1"] for row in rows}) == 5


def test_other_targets_under_the_same_names_are_told(runs, tmp_path):
    images = runs[1] / "eval" / "val-3" / "images"
    shutil.copy(images / "00001-val-001-target.png", images / "00000-val-000-target.png")
    data = page_data(compare.compare(runs, output=tmp_path / "out").folder)
    assert "targets are not the same pictures, those of first are shown" in data["subtitle"]


def test_runs_that_have_logged_nothing(runs, tmp_path):
    (runs[0] / "metrics.jsonl").unlink()
    assert (compare.compare(runs, output=tmp_path / "one").folder / "curves.png").exists()
    folder = compare.compare(runs[:1], output=tmp_path / "none").folder
    assert not (folder / "curves.png").exists()
    assert [part["kind"] for part in page_data(folder)["above"]] == ["table"]


def test_runs_called_as_the_gallery_s_columns_and_in_markup(runs, tmp_path):
    names = ("target", "_a|b*$c$")
    workdirs = [shutil.move(str(run), tmp_path / name) for run, name in zip(runs, names, strict=True)]
    result = compare.compare(workdirs, output=tmp_path / "out")
    assert page_data(result.folder)["columns"] == ["input", "target (run)", "_a|b*$c$", "target"]
    assert r"| \_a\|b\*\$c\$ | 3 |" in result.table


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/runs/a"], ["a"]),
        (["/runs/a", "/runs/b"], ["a", "b"]),
        (["/x/a/run", "/x/b/run"], ["a", "b"]),
        (["/x/a/1", "/x/b/2"], ["a/1", "b/2"]),
        (["/x/a", "/x/a/b"], ["a", "a/b"]),
        (["/a/a", "/a/a/a"], ["a", "a/a"]),
        (["gs://bucket/a", "/disk/a"], ["gs://bucket", "/disk"]),
    ],
)
def test_names_are_what_distinguishes_the_paths(paths, names):
    assert compare._distinguish(paths) == names


def refused(*workdirs, **kwargs):
    with pytest.raises(UserError) as error:
        compare.compare(workdirs, **kwargs)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_what_is_no_workdir_is_named(runs, tmp_path):
    output = tmp_path / "out"
    assert f"{tmp_path / 'absent'}: no such folder" in refused(runs[0], tmp_path / "absent", output=output)
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'}: no config.json" in refused(tmp_path / "empty", output=output)
    assert f"{runs[0]}: given 2 times" in refused(runs[0], runs[1], f"{runs[0]}/../run", output=output)
    assert "--examples=0" in refused(runs[0], output=output, examples=0)
    assert not output.exists()


def test_a_run_that_is_not_evaluated_is_named_with_the_command(runs, tmp_path):
    output = tmp_path / "out"
    message = refused(*runs, output=output, split="test")
    assert f"{runs[0]}: no evaluation of test" in message
    assert f"pix2pix evaluate --workdir={runs[0]} --split=test" in message
    (runs[1] / "eval" / "val-3" / "metrics.json").write_text('{"split": "val", ')
    message = refused(*runs, output=output)
    assert "val-3/metrics.json: damaged" in message and f"--workdir={runs[1]} --split=val" in message
    (runs[1] / "eval" / "val-3" / "metrics.json").unlink()
    assert f"{runs[1]}: no evaluation of val" in refused(*runs, output=output)
    shutil.rmtree(runs[1] / "eval")
    assert f"{runs[1]}: no evaluation of val" in refused(*runs, output=output)
    assert not output.exists()


def test_evaluations_before_there_were_totals_and_files(runs, tmp_path):
    def age(report):
        for entry in report["images"]:
            del entry["files"]

    change(runs[0] / "eval" / "val-6", age)
    assert "of another version" in refused(*runs, output=tmp_path / "out")


@pytest.mark.parametrize(
    "harm",
    [
        lambda report: report["mean"].update(l1=[1]),
        lambda report: report["mean"].update(l1="1"),
        lambda report: report["total"].update(fid=10**400),
        lambda report: report["images"][0].update(l1={}),
        lambda report: report["images"][0].update(l1="x"),
        lambda report: report["images"][0]["files"].update(output=5),
        lambda report: report["images"][0]["files"].update(output="a\0b"),
        lambda report: report["images"][0]["files"].update(target="/etc/hostname"),
        lambda report: report["images"][0]["files"].update(input="images/../../../config.json"),
    ],
)
def test_a_report_of_a_stranger_is_refused_before_anything_is_written(runs, tmp_path, harm):
    change(runs[1] / "eval" / "val-3", harm)
    assert "val-3/metrics.json: damaged, or of another version" in refused(*runs, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_report_nested_beyond_all_depth(runs, tmp_path):
    (runs[1] / "eval" / "val-3" / "metrics.json").write_text("[" * 100_000)
    assert "damaged" in refused(*runs, output=tmp_path / "out")


def test_the_runs_own_files_are_not_overwritten(runs):
    for output in (runs[1], runs[0] / "eval" / "val-6"):
        before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
        assert f"--output={output}: would overwrite" in refused(*runs, output=output)
        assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before


def test_no_example_in_common(runs, tmp_path):
    def rename(report):
        for entry in report["images"]:
            entry["name"] += "b"

    change(runs[1] / "eval" / "val-3", rename)
    assert "no example of val in common" in refused(*runs, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_picture_that_is_missing(runs, tmp_path):
    picture = runs[1] / "eval" / "val-3" / "images" / "00000-val-000-output.png"
    picture.unlink()
    assert f"{picture}: missing" in refused(*runs, output=tmp_path / "out")


def test_an_output_that_cannot_be_written(runs, tmp_path):
    (tmp_path / "file").write_text("precious")
    assert "cannot be written" in refused(*runs, output=tmp_path / "file" / "x")
    assert (tmp_path / "file").read_text() == "precious"
