"""Evaluation while a run goes on: the same numbers as afterwards, and the best checkpoint."""

import json
import shutil
import types

import jax
import numpy as np
import pytest

from pix2pix_jax import cli
from pix2pix_jax.configuration import build_model
from pix2pix_jax.data.sources import datasets
from pix2pix_jax.errors import UserError
from pix2pix_jax.evaluation import evaluate
from pix2pix_jax.inference import trained_model
from pix2pix_jax.runtime import meshes
from pix2pix_jax.training import train, validation
from pix2pix_jax.workdir.checkpoints import Checkpoints, abstract

EVALUATED = ("--config.eval_every_steps=2", "--config.eval_metrics=l1,ssim", "--config.best_metric=psnr")


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setitem(datasets._DRAWN_COUNT, "val", 11)  # of which 8 devices leave a part


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_config):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(datasets._DRAWN_COUNT, "val", 11)
        workdir = tmp_path_factory.mktemp("selection") / "run"
        train.train(tiny_config(*EVALUATED, "--config.keep_checkpoints=1"), workdir)
    return workdir


def lines(workdir) -> dict[int, dict[str, float]]:
    """Step -> its evaluation."""
    read = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line for line in read if "val/l1" in line}


def best_of(workdir) -> int:
    found = lines(workdir)
    return max(found, key=lambda step: found[step]["val/psnr"])


def test_every_period_and_at_the_end(run):
    found = lines(run)
    assert list(found) == [2, 4, 6]
    assert found[2].keys() == {"step", "time", "val/l1", "val/ssim", "val/psnr"}
    every_line = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert every_line == sorted(every_line)


def test_the_numbers_are_those_of_evaluate(run):
    best = trained_model.load(run, step="best")
    assert best.step == best_of(run)
    expected = evaluate.evaluate(best, run).mean
    found = lines(run)[best.step]
    for name in ("l1", "psnr", "ssim"):
        assert found[f"val/{name}"] == pytest.approx(expected[name], rel=1e-4)


def test_what_fills_a_batch_is_no_data(run):
    """Under norm_stats=batch the last three of 11, on 8 devices, are normalised by themselves."""
    model = trained_model.load(run, norm_stats="batch")
    state = types.SimpleNamespace(generator=types.SimpleNamespace(**model.variables))
    found = validation.Validator(model.config, meshes.make_mesh(batch_size=2, data=1))(6, state)
    for name, value in evaluate.evaluate(model, run).mean.items():
        if f"val/{name}" in found:
            assert found[f"val/{name}"] == pytest.approx(value, rel=1e-4)
    assert found["val/l1"] != pytest.approx(lines(run)[6]["val/l1"], rel=1e-4)


def test_the_best_checkpoint_stays_beside_the_latest(run):
    with Checkpoints(run, read_only=True) as checkpoints:
        assert checkpoints.steps() == sorted({best_of(run), 6})
        assert checkpoints.progress(6)["best"] == {
            "metric": "psnr",
            "step": best_of(run),
            "value": lines(run)[best_of(run)]["val/psnr"],
        }


def test_a_run_that_goes_on_remembers_its_best(run, tiny_config, tmp_path):
    """That of another metric is the best, and kept, until there is an evaluation by this one."""
    config = tiny_config(*EVALUATED)
    mesh = meshes.make_mesh(batch_size=2, data=1)
    select = validation.Validator(config, mesh)
    for metric, best in (("psnr", 4), ("fid", 6)):
        select.best = {"metric": metric, "step": 4, "value": 99.0}
        assert select.best["step"] == 4
        select._compare(6, 20.0)
        assert select.best["step"] == best


@pytest.mark.parametrize(("metric", "values", "best"), [("l1", (3, 1, 2, 1), 2), ("ssim", (3, 1, float("nan"), 4), 4)])
def test_what_is_better(tiny_config, metric, values, best):
    """Of equal ones the first; what is no number is never the best."""
    config = tiny_config("--config.eval_every_steps=1", f"--config.best_metric={metric}")
    select = validation.Validator(config, meshes.make_mesh(batch_size=2, data=1))
    for step, value in enumerate(values, 1):
        select._compare(step, value)
    assert select.best == {"metric": metric, "step": best, "value": values[best - 1]}


def test_a_resumed_run_finds_the_same(run, tiny_config, tmp_path):
    workdir = tmp_path / "stopped"
    train.train(tiny_config(*EVALUATED, "--config.num_steps=4"), workdir)
    state = train.train(tiny_config(*EVALUATED), workdir)
    strip = lambda found: {step: {k: v for k, v in line.items() if k != "time"} for step, line in found.items()}  # noqa: E731
    assert strip(lines(workdir)) == strip(lines(run))
    whole = trained_model.load(run)
    jax.tree.map(np.testing.assert_array_equal, state.generator.params, whole.variables["params"])


def test_a_run_that_goes_on_without_evaluation_keeps_its_best(run, tiny_config, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    more = ("--config.eval_every_steps=0", "--config.keep_checkpoints=1", "--config.num_steps=12")
    train.train(tiny_config(*EVALUATED, *more), tmp_path / "run")
    assert trained_model.load(tmp_path / "run", step="best").step == best_of(run)
    with Checkpoints(tmp_path / "run", read_only=True) as checkpoints:
        assert checkpoints.steps() == sorted({best_of(run), 12})


def test_the_best_of_a_run_whose_newest_checkpoint_is_damaged(tiny_config, tmp_path, capsys):
    """The one that was the best before it may be gone; then the best is one that exists."""
    config = tiny_config(*EVALUATED, "--config.eval_every_steps=3")
    train.train(config, tmp_path)
    with Checkpoints(tmp_path) as checkpoints:
        state = checkpoints.restore(6, _like(config))
        own = {"metric": "psnr", "step": 9, "value": 1e3}
        checkpoints.save(9, state, checkpoints.config(6), {"losses": [], "best": own, "evaluation": own})
        checkpoints.wait()
    best_before = max((3, 6), key=lambda step: lines(tmp_path)[step]["val/psnr"])
    shutil.rmtree(tmp_path / "checkpoints" / str(best_before))  # as retention does once 9 is the best
    (tmp_path / "checkpoints" / "9" / "state" / "_METADATA").write_text("{")
    assert trained_model.load(tmp_path, step="best").step == {3: 6, 6: 3}[best_before]
    assert "checkpoints/9: damaged" in capsys.readouterr().out
    train.train(tiny_config(*EVALUATED, "--config.eval_every_steps=0", "--config.num_steps=9"), tmp_path)
    assert trained_model.load(tmp_path, step="best").step == {3: 6, 6: 3}[best_before]


def test_a_run_whose_best_is_gone_keeps_the_best_that_exists(run, tiny_config, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    with Checkpoints(tmp_path / "run", keep=9) as checkpoints:
        state, config = checkpoints.restore(6, _like(checkpoints.config(6))), checkpoints.config(6)
        gone = {"metric": "psnr", "step": 5, "value": 1e3}
        worse = {"metric": "psnr", "step": 7, "value": 1e-3}
        checkpoints.save(
            7, state.replace(step=state.step + 1), config, {"losses": [], "best": gone, "evaluation": worse}
        )
        checkpoints.wait()
    more = ("--config.eval_every_steps=0", "--config.keep_checkpoints=1", "--config.num_steps=9")
    train.train(tiny_config(*EVALUATED, *more), tmp_path / "run")
    with Checkpoints(tmp_path / "run", read_only=True) as checkpoints:
        assert checkpoints.steps() == [best_of(run), 9]
        assert checkpoints.progress(9)["best"]["step"] == best_of(run)


def _like(config):
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    parts = build_model.build_parts(config, num_examples=1)
    return abstract(jax.eval_shape(lambda: build_model.create_state(config, parts)), here)


def test_metrics_that_cannot_be_had_are_refused_before_anything_is_written(tiny_config, tmp_path):
    config = tiny_config("--config.eval_every_steps=2", "--config.best_metric=mean_iou")
    with pytest.raises(UserError, match="^labels: needs --palette"):
        train.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_set_without_the_split_trains_without_evaluation(tiny_config, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "pairs"
    (folder / "train").mkdir(parents=True)
    from PIL import Image

    for i in range(4):
        Image.fromarray(np.full((32, 64, 3), 40 * i, np.uint8)).save(folder / "train" / f"{i}.png")
    config = tiny_config(*EVALUATED, "--config.dataset=folder", f"--config.data_dir={folder}", "--config.num_steps=2")
    train.train(config, tmp_path / "run")
    assert "note: folder has no split val" in capsys.readouterr().out
    assert cli.main(["evaluate", f"--workdir={tmp_path / 'run'}", "--step=best"]) == 2
    assert "--step=best: no whole checkpoint in" in capsys.readouterr().err
