"""Losses are logged as means of a window; numbers that are no longer finite stop a run, and are not saved."""

import json
import logging

import jax
import numpy as np
import pytest
from conftest import TINY

from pix2pix_jax import cli
from pix2pix_jax.data.reading import ExampleOrder
from pix2pix_jax.training import metric_logger, throughput, train
from pix2pix_jax.workdir.checkpoints import Checkpoints

COUNT = 100


def lines_of(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


def steps_of(workdir):
    with Checkpoints(workdir, read_only=True) as checkpoints:
        return checkpoints.steps()


def test_the_last_window_of_a_run_is_logged(tiny_config, tmp_path):
    """Also the only one; a run that is made longer averages its steps again, as if it had never been shorter."""

    def run(name, every, steps):
        fields = (f"log_every_steps={every}", f"num_steps={steps}", "eval_every_steps=0")
        train.train(tiny_config(*(f"--config.{field}" for field in fields)), tmp_path / name)

    run("every", 1, 7)
    single = lines_of(tmp_path / "every")

    def mean(first, last):
        chosen = single[first - 1 : last]
        values = {name: float(np.mean([line[name] for line in chosen])) for name in single[0] if name != "step"}
        return {"step": last, **values}

    run("run", 100, 5)
    assert lines_of(tmp_path / "run") == [mean(1, 5)]
    run("run", 3, 7)
    assert lines_of(tmp_path / "run") == [mean(1, 5), mean(1, 6), mean(7, 7)]


def test_the_first_losses_are_read_at_once_and_later_ones_two_steps_on(tiny_config, tmp_path, monkeypatch):
    events = []

    def on_step(self, step, state, metrics, original=metric_logger.MetricLogger.on_step):
        events.append(f"step {step}")
        original(self, step, state, metrics)

    def finished(self, step, original=throughput.Throughput.finished):
        events.append(f"losses {step}")
        original(self, step)

    monkeypatch.setattr(metric_logger.MetricLogger, "on_step", on_step)
    monkeypatch.setattr(throughput.Throughput, "finished", finished)
    periods = (f"--config.{name}_every_steps=0" for name in ("checkpoint", "sample", "eval"))  # which read them all
    train.train(tiny_config("--config.num_steps=5", *periods), tmp_path)
    assert events[:7] == ["step 1", "losses 1", "step 2", "step 3", "step 4", "losses 2", "step 5"]


def test_a_run_that_logs_nothing_ends_well(tmp_path):
    tiny = [*TINY, "--config.log_every_steps=0", "--config.eval_every_steps=0", "--config.num_steps=2"]
    assert cli.main(["train", "--config=default", f"--workdir={tmp_path}", *tiny]) == 0
    assert lines_of(tmp_path) == [] and not (tmp_path / "curves.png").exists()


@pytest.fixture
def overflowing(tiny_config, tmp_path):
    """overflowing(step, ...) -> the config of a run whose batch of that step holds values that float32 cannot."""

    def overflowing(step, *overrides):
        (tmp_path / "data").mkdir()
        config = tiny_config(
            "--config.dataset=folder",
            f"--config.data_dir={tmp_path / 'data'}",
            "--config.direction=AtoB",
            "--config.input_range=-3e38,3e38",
            "--config.target_range=-3e38,3e38",
            "--config.sample_every_steps=0",
            *overrides,
        )
        a, b = np.random.default_rng(0).uniform(-3e37, 3e37, (2, COUNT, 36, 36, 3)).astype(np.float32)
        b[ExampleOrder(COUNT, config.batch_size, config.seed)[step - 1][1]] = 3e38
        np.savez(tmp_path / "data" / "train.npz", A=a, B=b)
        return config

    return overflowing


@pytest.mark.parametrize(("total", "period", "every"), [(8, 3, 1), (5, 4, 0), (8, 5, 2)])
def test_the_step_that_overflows_is_named_and_not_saved(overflowing, tmp_path, total, period, every):
    """Step 5, in the middle of a run, at its end, or where a checkpoint is due."""
    overrides = (f"--config.num_steps={total}", f"--config.checkpoint_every_steps={period}")
    config = overflowing(5, *overrides, f"--config.log_every_steps={every}")
    with pytest.raises(metric_logger.DivergedError, match="^step 5: the losses are no longer finite.*; try a lower"):
        train.train(config, tmp_path / "run")
    assert steps_of(tmp_path / "run") == [step for step in range(1, 5) if step % period == 0]
    logged = [step for step in range(1, 5) if every and step % every == 0]
    assert [line["step"] for line in lines_of(tmp_path / "run")] == logged


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize(
    ("period", "message"),
    [(1, "^step 1: parameters, statistics or optimisers are no longer finite"), (0, "^step 2: the losses")],
)
def test_an_update_that_overflows_shows_when_saved_or_in_the_next_losses(tiny_config, tmp_path, period, message):
    config = tiny_config("--config.update_order=simultaneous", f"--config.checkpoint_every_steps={period}")
    config.learning_rate = 1e39  # infinite in float32; a user's would be refused
    with pytest.raises(metric_logger.DivergedError, match=message):
        train.train(config, tmp_path)
    checkpoints = Checkpoints(tmp_path, read_only=True)
    assert checkpoints.steps() == []
    checkpoints.close()


def test_the_check_before_a_save_is_compiled_once(tiny_config, tmp_path, caplog):
    metric_logger._all_finite.clear_cache()
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        train.train(tiny_config("--config.checkpoint_every_steps=1"), tmp_path)
    traced = [record.message for record in caplog.records if "Finished tracing" in record.message]
    assert sum("all_finite" in message for message in traced) == 1
