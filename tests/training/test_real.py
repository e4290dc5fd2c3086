"""The whole program on the published facades, by its command line, in processes of its own. For CI (-m heavy)."""

import json
import re
import signal
import subprocess

import numpy as np
import processes
import pytest
from PIL import Image

pytestmark = pytest.mark.heavy

SMALL = (
    "--config.image_size=64,64",
    "--config.resize_size=72,72",
    "--config.generator.features=16",
    "--config.discriminator.features=16",
    "--config.num_steps=160",
    "--config.schedule=constant",  # so that a shorter run is the beginning of a longer one
    "--config.learning_rate=0.001",
    "--config.log_every_steps=24",  # the checkpoint at step 80 falls between two lines
    "--config.sample_every_steps=80",
    "--config.checkpoint_every_steps=80",
)


def start(*arguments) -> subprocess.Popen:
    return processes.start(*arguments, XLA_FLAGS="")  # one device, fully compiled


def run(*arguments) -> str:
    return processes.finish(start(*arguments), within=900)


def train_arguments(facades, workdir, *overrides) -> list[str]:
    return ["train", "--config=facades", f"--config.data_dir={facades}", f"--workdir={workdir}", *SMALL, *overrides]


@pytest.fixture(scope="module")
def finished(facades, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("facades") / "run"
    out = run(*train_arguments(facades, workdir))
    assert "400 pairs of 256x256 (HxW)" in out and "generator" in out
    return workdir


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGKILL, -9)])
def test_a_run_stopped_by_a_signal_goes_on_with_the_same_losses(facades, finished, tmp_path, number, code):
    process = start(*train_arguments(facades, tmp_path))
    processes.wait_for(lambda: processes.num_lines(tmp_path) >= 4, process)  # past the first checkpoint
    process.send_signal(number)
    processes.finish(process, code, within=300)
    out = run(*train_arguments(facades, tmp_path))
    resumed_at = int(re.search(r"starting from step (\d+)", out)[1])
    assert resumed_at >= 80 or number == signal.SIGKILL
    assert processes.lines_of(tmp_path) == processes.lines_of(finished)


def test_evaluate_and_translate_the_test_split(facades, finished, tmp_path):
    out = run("evaluate", f"--workdir={finished}", "--split=test")
    assert "over 106 pairs" in out
    report = json.loads((finished / "eval" / "test-160" / "metrics.json").read_text())
    assert report["num_examples"] == 106
    assert report["mean"]["l1"] < 0.345  # pictures all of the set's mean colour would have 0.356
    assert (finished / "eval" / "test-160" / "index.html").exists()

    run("translate", f"--workdir={finished}", f"--input={facades / 'test'}", f"--output={tmp_path}")
    assert sorted(p.stem for p in tmp_path.iterdir()) == sorted(p.stem for p in (facades / "test").iterdir())
    # The pair's label half went in: the same picture that evaluate wrote.
    (written,) = (finished / "eval" / "test-160" / "images").glob("*-test_1-output.png")
    expected = np.asarray(Image.open(written))
    found = np.asarray(Image.open(tmp_path / "1.png").resize((64, 64), Image.Resampling.BICUBIC))
    assert np.abs(expected.astype(int) - found).mean() < 6


def test_prepare_builds_the_archive_and_training_reads_it(facades, finished, tmp_path):
    """From a folder's archive through TFDS come the same losses as from the folder itself."""
    root = tmp_path / "data"
    root.mkdir()
    subprocess.run(["tar", "czf", root / "facades.tar.gz", "-C", facades.parent, "facades"], check=True)
    out = run("prepare", "--config=facades", f"--config.data_dir={root}")
    assert "train: 400 pairs" in out and "val: 100 pairs" in out and "test: 106 pairs" in out
    run(*train_arguments(root, tmp_path / "run", "--config.num_steps=48"))
    assert processes.lines_of(tmp_path / "run")[:2] == processes.lines_of(finished)[:2]
