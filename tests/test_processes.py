"""One run on any number of devices and processes, which come and go. For CI (-m heavy)."""

import pathlib
import signal
import time

import numpy as np
import processes
import pytest

pytestmark = pytest.mark.heavy

# Float sums in another order: what Adam makes of rounding errors grows with the steps.
SHORT = (
    "--config.num_steps=24",
    "--config.checkpoint_every_steps=8",
    "--config.batch_size=8",
    "--config.learning_rate=1e-4",
)
LONG = ("--config.num_steps=2000", "--config.checkpoint_every_steps=20", "--config.batch_size=8")
TOLERANCE = 2e-3


def run(workdir: pathlib.Path, *overrides: str, count: int = 1, devices: int = 1) -> None:
    started = processes.start_together(count, *processes.tiny_run(workdir, *SHORT, *overrides), devices=devices)
    for process in started:
        processes.finish(process)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run on one device of one process."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    run(workdir)
    return workdir


def assert_same_run(workdir: pathlib.Path, expected: pathlib.Path) -> None:
    """The losses of all steps and the final parameters, statistics and moments."""
    found, wanted = processes.lines_of(workdir), processes.lines_of(expected)
    assert [line["step"] for line in found] == list(range(1, 25))
    for one, other in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, rel=TOLERANCE), one["step"]
    for name, value in processes.final_state(expected).items():
        # Moments of parameters that hardly matter are rounding errors; against the largest of their array they are not.
        size = np.abs(value).max() + 1e-12
        np.testing.assert_allclose(processes.final_state(workdir)[name] / size, value / size, atol=0.05, err_msg=name)


@pytest.mark.parametrize(("count", "devices"), [(1, 4), (2, 1), (4, 2)])
def test_the_same_losses_on_any_devices_and_processes(alone, tmp_path, count, devices):
    """Global batches, BatchNorm over the whole batch, dropout masks."""
    run(tmp_path / "run", count=count, devices=devices)
    assert_same_run(tmp_path / "run", alone)


def test_rows_over_processes(alone, tmp_path):
    """Images whose rows lie in different processes."""
    run(tmp_path / "run", "--config.mesh.rows=2", "--config.mesh.data=1", count=2)
    assert_same_run(tmp_path / "run", alone)


def test_a_run_goes_on_elsewhere(alone, tmp_path):
    """8 steps on 8 devices of one process, 8 on 4 processes, 8 on one device."""
    workdir = tmp_path / "run"
    run(workdir, "--config.num_steps=8", devices=8)
    run(workdir, "--config.num_steps=16", count=4)
    run(workdir)
    assert_same_run(workdir, alone)


@pytest.mark.parametrize("victim", [0, 3])
def test_when_one_of_four_dies_the_others_stop(tmp_path, victim):
    started = processes.start_together(4, *processes.tiny_run(tmp_path, *LONG))
    processes.wait_for(lambda: processes.num_lines(tmp_path) > 30, *started)
    started[victim].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert time.monotonic() - killed < 90
    codes = [process.returncode for process in started]
    assert codes.pop(victim) == -signal.SIGKILL
    assert all(code in (75, -signal.SIGABRT) for code in codes)  # our line, or JAX's abort where it was quicker
    assert any("lost the others" in output for output in outputs)
    resumed = processes.start_together(2, *processes.tiny_run(tmp_path, *LONG, "--config.num_steps=40"))
    assert "starting from step" in processes.finish(resumed[0])
    processes.finish(resumed[1])


def test_a_signal_to_one_of_four_stops_all_after_the_same_step(tmp_path):
    started = processes.start_together(4, *processes.tiny_run(tmp_path, *LONG))
    processes.wait_for(lambda: processes.num_lines(tmp_path) > 10, *started)
    started[2].send_signal(signal.SIGTERM)
    outputs = [processes.finish(process, 75) for process in started]
    assert "which is saved" in outputs[0]
    steps = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert steps[-1] == processes.lines_of(tmp_path)[-1]["step"]
    resumed = processes.start(*processes.tiny_run(tmp_path, *LONG, f"--config.num_steps={steps[-1] + 3}"))
    assert f"starting from step {steps[-1]}" in processes.finish(resumed)
