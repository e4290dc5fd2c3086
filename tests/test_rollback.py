"""Runs that meet data which overflow: where they go back to, and that stops in between change nothing.

Example order is NumPy's and known beforehand, so the tests know which step meets which example.
"""

import contextlib
import copy
import io
import json
import os
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pix2pix_jax.configs import default

from pix2pix_jax import config as config_lib
from pix2pix_jax import interruption, monitor, rollback, train
from pix2pix_jax.checkpoints import Checkpoints
from pix2pix_jax.data.reading import ExampleOrder

COUNT, BATCH = 100, 2
STEPS, PERIOD = 10, 4


def order(rollbacks, config):
    return ExampleOrder(COUNT, BATCH, rollback.redrawn(config, rollbacks).seed)


def write_pairs(folder, overflowing):
    """Pairs in the middle of a range that float32 can just hold, but for the `overflowing`, whose values it cannot."""
    folder.mkdir()
    a, b = np.random.default_rng(0).uniform(-3e37, 3e37, (2, COUNT, 36, 36, 3)).astype(np.float32)
    np.savez(folder / "val.npz", A=a[:2], B=b[:2])
    b[overflowing] = 3e38
    np.savez(folder / "train.npz", A=a, B=b)
    return folder


@pytest.fixture(scope="module")
def config_of(tiny_config):
    """config_of(folder, ...) -> the config of a run on its pairs."""
    return lambda folder, *overrides: tiny_config(
        "--config.dataset=folder",
        f"--config.data_dir={folder}",
        "--config.seed=3",  # one whose order suits `twice_broken`; compiled steps of one seed are shared
        "--config.direction=AtoB",
        "--config.input_range=-3e38,3e38",
        "--config.target_range=-3e38,3e38",
        f"--config.num_steps={STEPS}",
        f"--config.checkpoint_every_steps={PERIOD}",
        "--config.sample_every_steps=0",
        *overrides,
    )


@pytest.fixture(scope="module")
def twice_broken(tmp_path_factory, config_of):
    """The config of a run that meets its first overflow at step 2 and, gone back to step 0, another one at step 6."""
    folder = tmp_path_factory.mktemp("twice") / "data"
    config = config_of(folder, "--config.on_divergence=rollback")
    overflowing = [order(0, config)[1][0], order(1, config)[5][0]]
    for rollbacks, clean in ((0, range(1)), (1, range(5)), (2, range(4, STEPS))):
        assert not any(np.isin(order(rollbacks, config)[step], overflowing).any() for step in clean)
    write_pairs(folder, overflowing)
    return config


@pytest.fixture(scope="module")
def whole(tmp_path_factory, twice_broken):
    """(the workdir, the final state, what was printed) of that run without a stop. Not to be written to."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    with contextlib.redirect_stdout(io.StringIO()) as out:
        state = jax.device_get(train.train(twice_broken, workdir))
    return workdir, state, out.getvalue()


def lines_of(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


def saved_rollbacks(workdir):
    checkpoints = Checkpoints(workdir, read_only=True)
    found = {step: rollback.saved_rollbacks(checkpoints, step) for step in checkpoints.steps()}
    checkpoints.close()
    return found


def assert_same_end(config, workdir, whole):
    """Trains the run in `workdir` to its end, which is that of the run without a stop."""
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(train.train(config, workdir)), whole[1])
    assert lines_of(workdir) == lines_of(whole[0])
    assert saved_rollbacks(workdir)[STEPS] == 2


def test_a_run_goes_back_and_on(twice_broken, whole):
    workdir, _, out = whole
    assert [line for line in out.splitlines() if "back to step" in line] == [
        f"step {step}: the losses are no longer finite numbers; back to step {back}, on with other random draws "
        "(rollback 1 of at most 3 from there)"
        for step, back in ((2, 0), (6, 4))
    ]
    assert [line["step"] for line in lines_of(workdir)] == [*range(1, STEPS + 1)]
    assert saved_rollbacks(workdir) == {4: 1, 8: 2, 10: 2}
    assert json.loads((workdir / "config.json").read_text())["seed"] == twice_broken.seed


def test_a_run_back_at_step_0_begins_as_one_of_another_seed(twice_broken, whole, config_of, tmp_path):
    other = rollback.redrawn(twice_broken, 1).seed
    train.train(config_of(twice_broken.data_dir, f"--config.seed={other}", "--config.num_steps=4"), tmp_path)
    assert lines_of(tmp_path) == lines_of(whole[0])[:4]


@pytest.mark.heavy
@pytest.mark.parametrize("stops", [(1, 5), (7, 9)])
def test_a_stop_in_between_changes_nothing(twice_broken, whole, tmp_path, stops):
    """Stops right before a divergence, between a rollback and the next checkpoint, and after it."""
    for stop in stops:
        shorter = copy.deepcopy(twice_broken)
        shorter.num_steps = stop
        train.train(shorter, tmp_path)
    assert_same_end(twice_broken, tmp_path, whole)


@pytest.mark.heavy
def test_a_kill_after_a_rollback_changes_nothing(twice_broken, whole, tmp_path):
    (tmp_path / "own.py").write_text(
        "from pix2pix_jax import config\n\n\ndef get_config():\n"
        f"    return config.from_dict({config_lib.to_dict(twice_broken)!r})\n"
    )
    command = [sys.executable, "-m", "pix2pix_jax", "train", f"--config={tmp_path / 'own.py'}"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, f"--workdir={tmp_path / 'run'}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as running:
        assert any("back to step 4" in line for line in running.stdout)
        running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    assert saved_rollbacks(tmp_path / "run") == {4: 1}
    assert_same_end(twice_broken, tmp_path / "run", whole)


@pytest.mark.parametrize(("total", "period", "every"), [(8, 3, 1), (5, 4, 0), (8, 5, 2)])
def test_the_step_that_overflows_is_named_and_not_saved(config_of, tmp_path, total, period, every):
    """Step 5, in the middle of a run, at its end, or where a checkpoint is due."""
    overrides = (f"--config.num_steps={total}", f"--config.checkpoint_every_steps={period}")
    config = config_of(tmp_path / "data", *overrides, f"--config.log_every_steps={every}")
    write_pairs(tmp_path / "data", [order(0, config)[4][1]])
    with pytest.raises(monitor.Diverged, match="^step 5: the losses are no longer finite.*on_divergence=rollback"):
        train.train(config, tmp_path / "run")
    assert list(saved_rollbacks(tmp_path / "run")) == [step for step in range(1, 5) if step % period == 0]
    logged = [step for step in range(1, 5) if every and step % every == 0]
    assert [line["step"] for line in lines_of(tmp_path / "run")] == logged


def test_a_run_that_always_diverges_gives_up(config_of, tmp_path, capsys):
    config = config_of(tmp_path / "data", "--config.on_divergence=rollback", "--config.checkpoint_every_steps=0")
    write_pairs(tmp_path / "data", slice(None))
    with pytest.raises(monitor.Diverged, match="^step 1: .* as before each of 3 rollbacks to step 0; try a lower"):
        train.train(config, tmp_path / "run")
    said = capsys.readouterr().out
    assert all(f"rollback {n} of at most 3" in said for n in (1, 2, 3)) and "rollback 4" not in said
    assert saved_rollbacks(tmp_path / "run") == {}


@pytest.fixture
def checkpoints(trained, tmp_path):
    """Of steps 3 and 6, to be changed."""
    shutil.copytree(trained / "checkpoints", tmp_path / "checkpoints")
    checkpoints = Checkpoints(tmp_path)
    yield checkpoints
    checkpoints.close()


BROKEN = monitor.Diverged(7, "the losses are broken")


@pytest.mark.parametrize(
    ("period", "left"),
    [
        (3, [3, 6]),
        (5, [3, 6]),  # 5 was called for, and is not there
        (7, []),  # 3 and 6 are of stops, before anything was called for
        (0, [3, 6]),
    ],
)
def test_the_checkpoint_to_go_back_to(checkpoints, tiny_config, period, left):
    config = tiny_config("--config.on_divergence=rollback", f"--config.checkpoint_every_steps={period}")
    assert rollback.roll_back(config, checkpoints, rollbacks=1, diverged=BROKEN, stopped_by=None) == 2
    assert checkpoints.steps() == left


def test_no_rollback_unless_it_is_asked_for(checkpoints, tiny_config):
    with pytest.raises(monitor.Diverged) as raised:
        rollback.roll_back(tiny_config(), checkpoints, rollbacks=0, diverged=BROKEN, stopped_by=None)
    assert raised.value is BROKEN


def test_a_run_that_is_to_stop_does_not_go_back(checkpoints, tiny_config):
    config = tiny_config("--config.on_divergence=rollback")
    with pytest.raises(interruption.Interrupted, match="stopped; at step 7 the losses are broken"):
        rollback.roll_back(config, checkpoints, rollbacks=0, diverged=BROKEN, stopped_by=signal.SIGINT)
    assert checkpoints.steps() == [3, 6]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(1, 1000))
def test_draws_after_rollbacks_are_others_and_their_seed_is_one(seed, rollbacks):
    config = default.get_config()
    config.seed = seed
    assert rollback.redrawn(config, 0) is config
    redrawn = rollback.redrawn(config, rollbacks)
    config_lib.check(redrawn)
    assert config_lib.differences(config, redrawn) == [f"config.seed: {seed} -> {redrawn.seed}"]
    assert redrawn.seed != rollback.redrawn(config, rollbacks + 1).seed
