"""A run that is killed again and again, at any moment, ends in the same bits as one that is not. For CI (-m heavy)."""

import pathlib
import shutil
import signal
import time

import numpy as np
import processes
import pytest
from damage import damage

pytestmark = pytest.mark.heavy

LENGTH = ("--config.num_steps=240", "--config.checkpoint_every_steps=15")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
    processes.finish(processes.start(*processes.tiny_run(workdir, *LENGTH)))
    return workdir


def assert_same_end(workdir: pathlib.Path, expected: pathlib.Path) -> None:
    assert processes.lines_of(workdir) == processes.lines_of(expected)
    assert [line["step"] for line in processes.lines_of(workdir)] == list(range(1, 241))
    found, wanted = processes.final_state(workdir), processes.final_state(expected)
    assert found.keys() == wanted.keys() and any("ema" in name for name in found)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def is_saving(workdir: pathlib.Path) -> bool:
    folder = workdir / "checkpoints"
    return folder.is_dir() and any(not path.name.isdigit() for path in folder.iterdir())


def test_kills_at_any_moment(uninterrupted, tmp_path):
    """Twelve SIGKILLs: soon after the start, during the steps, and during saves."""
    workdir = tmp_path / "run"
    rng = np.random.default_rng(int(time.time()))  # other moments each time
    for kill in range(12):
        process = processes.start(*processes.tiny_run(workdir, *LENGTH))
        if kill % 3 == 0:
            time.sleep(rng.uniform(0, 8))
        else:
            lines = processes.num_lines(workdir)
            processes.wait_for(lambda lines=lines: processes.num_lines(workdir) not in (0, lines), process)
            if kill % 3 == 1:
                time.sleep(rng.uniform(0, 0.4))
            else:
                processes.wait_for(lambda: is_saving(workdir) or processes.num_lines(workdir) > 238, process)
                time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    processes.finish(processes.start(*processes.tiny_run(workdir, *LENGTH)))
    assert_same_end(workdir, uninterrupted)
    assert all(path.name.isdigit() for path in (workdir / "checkpoints").iterdir())  # nothing half-saved stays


def test_a_run_goes_on_from_before_a_damaged_checkpoint(uninterrupted, tmp_path):
    workdir = tmp_path / "run"
    for steps in (100, 170):
        processes.finish(processes.start(*processes.tiny_run(workdir, *LENGTH, f"--config.num_steps={steps}")))
        files = [p for p in (workdir / "checkpoints" / str(steps)).rglob("*") if p.is_file()]
        if steps == 100:  # anything anywhere, which may or may not matter
            rng = np.random.default_rng(int(time.time()))
            print(damage(files[int(rng.integers(len(files)))], rng))
        else:
            for path in files:
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    out = processes.finish(processes.start(*processes.tiny_run(workdir, *LENGTH)))
    assert "checkpoints/170: damaged" in out and "going back to step 165" in out
    assert_same_end(workdir, uninterrupted)
    assert (workdir / "checkpoints" / "damaged-170").is_dir()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_stopped_run_says_so_by_its_exit_code(uninterrupted, tmp_path, number, code):
    workdir = tmp_path / "run"
    process = processes.start(*processes.tiny_run(workdir, *LENGTH))
    processes.wait_for(lambda: processes.num_lines(workdir) > 20, process)
    process.send_signal(number)
    assert "which is saved" in processes.finish(process, code)
    processes.finish(processes.start(*processes.tiny_run(workdir, *LENGTH)))
    assert_same_end(workdir, uninterrupted)


def test_a_copied_workdir_goes_on_too(uninterrupted, tmp_path):
    """Nothing of a run is tied to its place."""
    processes.finish(processes.start(*processes.tiny_run(tmp_path / "a", *LENGTH, "--config.num_steps=30")))
    shutil.move(tmp_path / "a", tmp_path / "b")
    processes.finish(processes.start(*processes.tiny_run(tmp_path / "b", *LENGTH)))
    assert_same_end(tmp_path / "b", uninterrupted)
