"""What benchmarks/results.py trains, what it says of it, and that it goes on where it stopped."""

import json

import pytest
import results
from conftest import TINY

from pix2pix_jax import configuration as config_lib

MACHINE = {
    **{"device": "cpu", "devices": 1, "processor": "some", "cores": 2, "python": "3.11", "jax": "0.10"},
    **{"date": "2026-01-01", "commit": ""},
}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Two calls for one run: to step 6, and on to step 8."""
    place = tmp_path_factory.mktemp("results")
    flags = [flag for flag in TINY if "direction" not in flag]
    command = [f"--workdir={place}", "--runs=labels", "--metrics=l1,ssim", "--config.dataset=drawn_facades", *flags]
    command.append(f"--record={place / 'lines.jsonl'}")
    results.main(command)
    results.main([*command, "--config.num_steps=8"])
    return place


@pytest.mark.heavy
def test_a_run_goes_on_where_it_stopped(workdir):
    entry = json.loads((workdir / "results.json").read_text())["runs"]["labels"]
    assert [(turn["from"], turn["to"]) for turn in entry["turns"]] == [(0, 6), (6, 8)]
    assert all(turn["seconds"] > 0.1 and turn["machine"]["device"] == "cpu" for turn in entry["turns"])
    assert entry["step"] == 8 and entry["images_per_s"] > 0


@pytest.mark.heavy
def test_scores_are_those_of_the_last_evaluation(workdir):
    found = json.loads((workdir / "results.json").read_text())
    assert found["machine"]["jax"] and found["split"] == "test"
    entry = found["runs"]["labels"]
    report = json.loads((workdir / "labels" / "eval" / "test-8" / "metrics.json").read_text())
    assert entry["scores"] == {**report["mean"], **report["total"]}
    assert set(entry["scores"]) == {"l1", "ssim", *results.LABEL_SCORES}
    assert entry["num_examples"] == 100


@pytest.mark.heavy
def test_the_table_says_what_was_run(workdir):
    text = (workdir / "results.md").read_text()
    entry = json.loads((workdir / "results.json").read_text())["runs"]["labels"]
    (row,) = [line for line in text.splitlines() if line.startswith("| labels ")]
    assert f"| {entry['scores']['ssim']:.3f} |  |  | {entry['scores']['pixel_accuracy']:.2f}, " in row
    assert entry["command"] in text.splitlines()
    assert "--config.num_steps=8" in entry["command"] and "num_steps=6" not in entry["command"]
    assert text.startswith("**Not the paper's recipe")


@pytest.mark.heavy
def test_lines_are_recorded(workdir):
    lines = [json.loads(line) for line in (workdir / "lines.jsonl").read_text().splitlines()]
    entry = json.loads((workdir / "results.json").read_text())["runs"]["labels"]
    assert [(line["run"], line["seed"], line["step"]) for line in lines] == [("labels", 0, 6), ("labels", 0, 8)]
    assert lines[1]["scores"]["l1"] == pytest.approx(entry["scores"]["l1"], abs=1e-5)
    assert lines[1]["seconds"] == round(sum(turn["seconds"] for turn in entry["turns"]))


@pytest.mark.heavy
def test_runs_are_compared(workdir):
    assert "| labels | 8 | 100 |" in (workdir / "comparison" / "photo_to_labels" / "table.md").read_text()


def make_results(tmp_path, *turns, **changes):
    found = results.Results(tmp_path, {"machine": MACHINE})
    entry = {"turns": list(turns), "command": "pix2pix train", "step": 100, "images_per_s": 2.34, "num_examples": 106}
    scores = {"l1": 0.2, "fid": 119.14, "kid": 0.0456, "lpips": 0.4321, "ssim": 0.2345}
    found.runs["facades"] = {**entry, "scores": scores, **changes}
    return found


def turn(start, end, seconds, **changes):
    return {"from": start, "to": end, "seconds": seconds, "machine": MACHINE | changes}


def test_a_row(tmp_path):
    found = make_results(tmp_path, turn(0, 60, 100.0), turn(60, 100, 33.9, device="TPU v5e", devices=4))
    text = results.table(["facades"], found, [])
    assert not text.startswith("**Not")
    assert (
        "| facades | labels -> photo, L1 + cGAN | CPU, 4 x TPU v5e | 2 min 13 s | 2.3 | 0.200 | 0.432 | 0.234 | 119.1 "
        "| 0.046 |  | FID 119.1; retrained 125.0 |"
    ) in text.splitlines()


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([turn(0, 100, 59.0)], "| 0 min 59 s |"),
        ([turn(0, 100, 9000.0)], "| 2.5 h |"),
        ([turn(40, 100, 59.0)], "| over 0 min 59 s |"),  # the turn before was killed
    ],
)
def test_time_of_training(tmp_path, turns, expected):
    assert expected in results.table(["facades"], make_results(tmp_path, *turns), [])


def test_what_was_not_computed_stays_empty(tmp_path):
    found = make_results(tmp_path, turn(0, 100, 1.0), scores={"l1": 0.2, "ssim": None}, images_per_s=None)
    assert "| CPU | 0 min 1 s |  | 0.200 |  |  |  |  |  |" in results.table(["facades"], found, [])


def test_the_spread_of_seeds(tmp_path):
    found = make_results(tmp_path, turn(0, 100, 1.0))
    entry = found.runs["facades"]
    found.runs["facades-2"] = {**entry, "scores": entry["scores"] | {"l1": 0.3, "ssim": None}}
    text = results.table(["facades", "facades-2"], found, [])
    expected = "| facades | 2 | 0.250 (0.200 to 0.300) | 0.432 (0.432 to 0.432) | 0.234 (0.234 to 0.234) | 119.1"
    assert expected in text and "| facades-2 |" in text
    assert "seeds" not in results.table(["facades"], found, [])


def test_keys():
    assert [results.key_of("l1", seed) for seed in (0, 3)] == ["l1", "l1-3"]
    assert results.run_of("l1-3") is results.RUNS["l1"]
    assert results.parse(["--workdir=w", "--seeds=0,3"])[0].seeds == [0, 3]


def test_images_per_second(tmp_path):
    (tmp_path / "config.json").write_text('{"batch_size": 4}')
    points = [(10, 100.0), (20, 110.0), (20, 111.0), (30, 116.0)]  # an evaluation at step 20
    lines = [json.dumps({"step": step, "time": time}) for step, time in points]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert results.images_per_second(results.epath.Path(tmp_path)) == 6.0
    (tmp_path / "metrics.jsonl").write_text(lines[0])
    assert results.images_per_second(results.epath.Path(tmp_path)) is None


@pytest.mark.parametrize("reduced", [[], ["--reduced", "--steps=9"]], ids=["full", "reduced"])
def test_configs_of_all_runs(reduced):
    _, names, overrides = results.parse(["--workdir=w", *reduced])
    assert names == list(results.RUNS)
    for name in names:
        flags = results.RUNS[name].flags
        config = config_lib.load(flags[0].removeprefix("--config="), [*flags[1:], *overrides])
        assert config.dataset == "facades"
        assert (config.direction == "AtoB") == (results.RUNS[name].direction == "photo -> labels")
        assert config.gan_weight == (0 if "l1" in name else 1) and config.l1_weight == (0 if "cgan" in name else 100)
        assert config.num_steps == (9 if reduced else None)


def test_metrics():
    def flags(name, *given):
        return results.evaluate_flags(name, results.parse(["--workdir=w", *given])[0])

    assert flags("facades") == ["--metrics=l1,psnr,ssim,ms_ssim,lpips,fid,kid"]
    assert flags("labels", "--reduced") == ["--metrics=l1,psnr,ssim,lpips,fid,kid,labels"]
    assert flags("labels", "--metrics=auto") == ["--metrics=auto"]


@pytest.mark.parametrize("flag", ["--runs=facades,nothing", "--reducd", "stray"])
def test_mistakes(flag, capsys):
    with pytest.raises(SystemExit, match="2"):
        results.parse(["--workdir=w", flag])
    assert flag.split(",")[-1] in capsys.readouterr().err


def test_a_command_that_fails_ends_the_program(tmp_path):
    with pytest.raises(SystemExit, match="2"):
        results.main([f"--workdir={tmp_path}", "--runs=facades", f"--data_dir={tmp_path}/nothing"])
