"""Places that cannot be written and disks that are full: one line, and what was saved before stays."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from command_line import assert_refused, lines, snapshot, write_pairs

from pix2pix_jax.inference import trained_model


def test_a_workdir_that_cannot_be_written(train, tmp_path):
    data = write_pairs(tmp_path / "data", 4)
    (tmp_path / "file").write_text("precious")
    assert_refused(train(data, workdir=tmp_path / "file" / "x"), tmp_path / "file" / "x", "cannot be written")
    assert (tmp_path / "file").read_text() == "precious"


def test_an_output_that_cannot_be_written(run, trained, tmp_path):
    (tmp_path / "file").write_text("precious")
    pairs = write_pairs(tmp_path / "in", 1)
    output = tmp_path / "file" / "x"
    result = run("translate", f"--workdir={trained}", f"--input={pairs}", f"--output={output}")
    assert_refused(result, output, "cannot be written", "--output", after_bars=True)
    result = run("evaluate", f"--workdir={trained}", f"--output={output}")
    assert_refused(result, output, "cannot be written", "--output")
    assert (tmp_path / "file").read_text() == "precious"


@pytest.fixture
def mounted(tmp_path):
    """mounted("size=3m") -> an empty tmpfs with these options; only where this process may mount."""
    folders = []

    def mount(options):
        folder = tmp_path / f"tmpfs{len(folders)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if not sys.platform.startswith("linux") or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("needs the permission to mount a tmpfs")
        folders.append(folder)
        return folder

    yield mount
    for folder in folders:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_file_system(train, mounted, tmp_path):
    folder = mounted("ro")
    data = write_pairs(tmp_path / "data", 4)
    assert_refused(train(data, workdir=folder / "run"), folder / "run", "Read-only file system", "another --workdir")


def disk_usage(folder):
    return sum(-(-len(content) // 4096) * 4096 for content in snapshot(folder).values())


def test_a_full_disk_keeps_the_earlier_checkpoint(mounted, tmp_path, trained, tiny_flags):
    two, one = (disk_usage(trained / "checkpoints" / name) for name in ("", "6"))
    folder = mounted(f"size={two - one // 2}")
    data = write_pairs(tmp_path / "data", 4)
    command = [
        *(sys.executable, "-m", "pix2pix_jax", "train", "--config=default", f"--workdir={folder / 'run'}"),
        *(*tiny_flags, "--config.dataset=folder", f"--config.data_dir={data}"),
    ]
    # Not in this process: the threads that write would print behind pytest's back.
    stopped = subprocess.run(command, capture_output=True, text=True, check=False)
    seen = lines(stopped.stderr)
    assert_refused((stopped.returncode, "", seen[-1]), folder / "run", "could not be written", "make room", "step 3")
    assert not any("ERROR:" in line for line in seen)  # what orbax and asyncio log of each array
    assert trained_model.load(folder / "run").step == 3


@pytest.mark.heavy
def test_a_disk_that_is_full_during_a_run_stops_it_soon(mounted, tmp_path, trained, tiny_flags):
    """Long before the next save, which is when orbax would tell of the one that failed."""
    folder = mounted(f"size={disk_usage(trained / 'checkpoints' / '6') // 2}")
    data = write_pairs(tmp_path / "data", 4)
    command = [
        *(sys.executable, "-m", "pix2pix_jax", "train", "--config=default", f"--workdir={folder / 'run'}"),
        *(*tiny_flags, "--config.dataset=folder", f"--config.data_dir={data}", "--config.num_steps=1000"),
        *("--config.checkpoint_every_steps=100", "--config.sample_every_steps=0", "--config.log_every_steps=10"),
    ]
    stopped = subprocess.run(command, capture_output=True, text=True, check=False)
    seen = lines(stopped.stderr)
    assert_refused(
        (stopped.returncode, "", seen[-1]), folder / "run", "pace left on", "make room", "no earlier checkpoint"
    )
    assert not any("Traceback" in line for line in seen)
    logged = [json.loads(line)["step"] for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert 100 <= logged[-1] < 200
    assert not [path for path in (folder / "run" / "checkpoints").iterdir() if path.name.isdigit()]


def test_a_disk_that_fills_up_anywhere_is_one_line(run, trained, monkeypatch):
    def full(*arguments, **keywords):
        raise OSError(28, os.strerror(28), str(pathlib.Path("some") / "file"))

    monkeypatch.setattr(trained_model, "load", full)
    assert_refused(run("evaluate", f"--workdir={trained}"), "file: No space left on device", "make room")
