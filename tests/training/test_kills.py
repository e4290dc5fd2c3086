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

END, LOG, SAVE, EVALUATE = (
    360,
    7,
    15,
    35,
)  # checkpoints fall between two log lines; an evaluation begins after a log line
LENGTH = (
    f"--config.num_steps={END}",
    f"--config.log_every_steps={LOG}",
    f"--config.checkpoint_every_steps={SAVE}",
    f"--config.eval_every_steps={EVALUATE}",
    "--config.keep_checkpoints=24",  # all of them
)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
    processes.finish(processes.start(*processes.tiny_run(workdir, *LENGTH)))
    return workdir


def assert_same_end(workdir: pathlib.Path, expected: pathlib.Path) -> None:
    """In all metrics lines, once each, and in every array; and every checkpoint that is left is whole."""
    lines = processes.lines_of(workdir)
    assert lines == processes.lines_of(expected)
    for name, every in (("g_l1", LOG), ("val/l1", EVALUATE)):
        assert [line["step"] for line in lines if name in line] == [*range(every, END, every), END]
    found, wanted = processes.final_state(workdir), processes.final_state(expected)
    assert found.keys() == wanted.keys() and any("ema" in name for name in found)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
    saved = processes.read_all(workdir)
    assert set(range(SAVE, END + 1, SAVE)) <= saved.keys()
    assert all(len(progress["losses"]) == step % LOG for step, progress in saved.items())
    assert saved[END]["best"]["step"] in saved


def is_saving(workdir: pathlib.Path) -> bool:
    folder = workdir / "checkpoints"
    return folder.is_dir() and any(not path.name.isdigit() for path in folder.iterdir())


def is_evaluating(workdir: pathlib.Path) -> bool:
    last = last_line(workdir)
    return last["step"] % EVALUATE == 0 and "val/l1" not in last


def last_line(workdir: pathlib.Path) -> dict:
    return (processes.lines_of(workdir) or [{"step": 1}])[-1]


def wait_for_moment(moment: str, workdir: pathlib.Path, process, rng: np.random.Generator) -> None:
    """Returns a moment of chance after the moment asked for, or near the end of the run."""
    if moment == "start":
        return time.sleep(rng.uniform(0, 8))
    before = processes.num_lines(workdir)
    processes.wait_for(lambda: processes.num_lines(workdir) not in (0, before), process)
    reached = {"step": lambda _: True, "save": is_saving, "evaluation": is_evaluating}[moment]
    processes.wait_for(lambda: reached(workdir) or last_line(workdir)["step"] > END - LOG, process)
    time.sleep(rng.uniform(0, {"step": 0.4, "save": 0.05, "evaluation": 0.2}[moment]))


def test_kills_at_any_moment(uninterrupted, tmp_path):
    """Eight SIGKILLs: soon after the start, during the steps, inside saves, and inside evaluations."""
    workdir = tmp_path / "run"
    rng = np.random.default_rng(int(time.time()))  # other moments each time
    for moment in ("start", "step", "save", "evaluation") * 2:
        process = processes.start(*processes.tiny_run(workdir, *LENGTH))
        wait_for_moment(moment, workdir, process, rng)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    processes.finish(processes.start(*processes.tiny_run(workdir, *LENGTH)))
    assert_same_end(workdir, uninterrupted)
    assert all(path.name.isdigit() for path in (workdir / "checkpoints").iterdir())  # nothing half-saved stays


def test_a_run_goes_on_from_before_a_damaged_checkpoint(uninterrupted, tmp_path):
    workdir = tmp_path / "run"
    for steps in (105, 175):  # lines that the whole run has too
        processes.finish(processes.start(*processes.tiny_run(workdir, *LENGTH, f"--config.num_steps={steps}")))
        files = [p for p in (workdir / "checkpoints" / str(steps)).rglob("*") if p.is_file()]
        if steps == 105:  # anything anywhere, which may or may not matter
            rng = np.random.default_rng(int(time.time()))
            print(damage(files[int(rng.integers(len(files)))], rng))
        else:
            for path in files:
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    out = processes.finish(processes.start(*processes.tiny_run(workdir, *LENGTH)))
    assert "checkpoints/175: damaged" in out and "going back to step 165" in out
    assert_same_end(workdir, uninterrupted)
    assert (workdir / "checkpoints" / "damaged-175").is_dir()


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
    processes.finish(processes.start(*processes.tiny_run(tmp_path / "a", *LENGTH, "--config.num_steps=35")))
    shutil.move(tmp_path / "a", tmp_path / "b")
    processes.finish(processes.start(*processes.tiny_run(tmp_path / "b", *LENGTH)))
    assert_same_end(tmp_path / "b", uninterrupted)
