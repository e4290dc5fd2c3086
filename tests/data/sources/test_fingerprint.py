"""Which training files a run began with: what counts as a change, and what does not."""

import base64
import shutil
import time
import zlib

import jax
import numpy as np
import pytest
from etils import epath
from PIL import Image

from pix2pix_jax.configuration import build_model
from pix2pix_jax.data.sources import fingerprint
from pix2pix_jax.data.sources.datasets import open_source
from pix2pix_jax.errors import UserError
from pix2pix_jax.training import train
from pix2pix_jax.workdir.checkpoints import Checkpoints, abstract


def take(folder, *, dataset="folder", **options) -> str:
    source = open_source(dataset, "train", data_dir=str(folder), size=(32, 32), seed=0, **options)
    return fingerprint.take(source)


def write(path, color, size=(64, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(color).integers(0, 256, (*size[::-1], 3), np.uint8)).save(path)


@pytest.fixture
def joined(tmp_path):
    for i in range(6):
        write(tmp_path / "joined" / "train" / f"{i}.png", i)
    return tmp_path / "joined"


def test_files_that_come_go_and_change_are_counted_and_named(joined):
    before = take(joined)
    assert fingerprint.changes(before, take(joined)) == ""
    for i in range(6, 11):
        write(joined / "train" / f"{i}.png", i)
    (joined / "train" / "3.png").unlink()
    write(joined / "train" / "4.png", 4, size=(66, 32))
    assert fingerprint.changes(before, take(joined)) == (
        "5 added (train/6, train/7, train/8, ...), 1 removed (train/3), 1 of another size (train/4)"
    )


def test_moving_the_data_is_no_change(joined, tmp_path):
    before = take(joined)
    shutil.copytree(joined, tmp_path / "elsewhere")  # with other times, too
    assert take(tmp_path / "elsewhere") == before
    write(joined / "val" / "0.png", 9)  # another split
    assert take(joined) == before


def test_separate_folders_and_photographs(tmp_path):
    for folder in ("A", "B"):
        for i in range(2):
            write(tmp_path / "pairs" / folder / "train" / f"{i}.png", i)
    before = take(tmp_path / "pairs")
    write(tmp_path / "pairs" / "B" / "train" / "1.png", 1, size=(66, 32))
    assert fingerprint.changes(before, take(tmp_path / "pairs")) == "1 of another size (train/1)"
    before = take(tmp_path / "pairs" / "A", single=True)
    write(tmp_path / "pairs" / "A" / "train" / "1.png", 1, size=(66, 32))
    assert fingerprint.changes(before, take(tmp_path / "pairs" / "A", single=True)) == "1 of another size (train/1)"


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_arrays(tmp_path, kind):
    def save(folder, count=20, dtype=np.uint8):
        folder.mkdir(exist_ok=True)
        images = np.zeros((count, 16, 16, 3), dtype)
        if kind == "npz":
            np.savez(folder / "images.npz", A=images, B=images)
            return take(folder / "images.npz")
        for name in "AB":
            np.save(folder / f"{name}.npy", images)
        return take(folder)

    before = save(tmp_path / "a")
    assert save(tmp_path / "b") == before
    assert "of another size" in fingerprint.changes(before, save(tmp_path / "a", dtype=np.uint16))
    assert "added" in fingerprint.changes(before, save(tmp_path / "a", count=40))


def test_a_size_that_is_not_known_may_be_any(joined, monkeypatch):
    before = take(joined)
    source = open_source("folder", "train", data_dir=str(joined), size=(32, 32), seed=0)
    monkeypatch.setattr(source, "_files", [(epath.Path(f"gs://bucket/{file.name}"),) for (file,) in source._files])
    assert fingerprint.changes(before, fingerprint.take(source)) == ""
    assert fingerprint.changes(fingerprint.take(source), before) == ""


def test_it_is_small_and_quick_for_many_files(tmp_path):
    (tmp_path / "train").mkdir()
    for i in range(20_000):
        (tmp_path / "train" / f"{i}_AB.png").touch()
    source = open_source("folder", "train", data_dir=str(tmp_path), size=(32, 32), seed=0)
    began = time.monotonic()
    assert len(fingerprint.take(source)) < 20_000 * 8
    assert time.monotonic() - began < 3  # 0.2 s on an idle machine; opening each file would take far longer


def test_a_run_goes_on_with_the_same_data_only(tiny_config, joined, tmp_path):
    def go_on(num_steps, *overrides, data=joined):
        data_of = ("--config.dataset=folder", f"--config.data_dir={data}", f"--config.num_steps={num_steps}")
        return train.train(tiny_config(*data_of, "--config.sample_every_steps=0", *overrides), tmp_path / "run")

    go_on(1)
    moved = joined.rename(tmp_path / "moved")
    go_on(2, data=moved)
    write(moved / "train" / "6.png", 6)
    (moved / "train" / "0.png").unlink()
    steps = sorted((tmp_path / "run" / "checkpoints").iterdir())
    with pytest.raises(
        UserError, match=r"1 added \(train/6\), 1 removed \(train/0\).*--config.allow_changed_data=True"
    ):
        go_on(3, data=moved)
    assert sorted((tmp_path / "run" / "checkpoints").iterdir()) == steps
    go_on(3, "--config.allow_changed_data=True", data=moved)
    go_on(4, data=moved)  # they are its data now


def test_a_checkpoint_without_a_fingerprint_goes_on(trained, tiny_config, tmp_path):
    """Of a version before, or made of another program's weights."""
    config = tiny_config("--config.num_steps=7")
    with Checkpoints(trained, read_only=True) as old, Checkpoints(tmp_path) as new:
        assert old.progress(6)["data"]
        like = jax.eval_shape(
            lambda: build_model.create_state(config, build_model.build_parts(config, num_examples=400))
        )
        state = old.restore(6, abstract(like, jax.sharding.SingleDeviceSharding(jax.devices()[0])))
        new.save(6, state, config, {"losses": (), "best": None})
        new.wait()
    assert train.train(config, tmp_path).step == 7


@pytest.mark.parametrize("stranger", ["no base64", "AAAA", base64.b64encode(zlib.compress(bytes(2**22))).decode()])
def test_what_is_no_fingerprint_is_a_change(monkeypatch, stranger):
    """A checkpoint may be a stranger's. What unpacks to gigabytes is not unpacked."""
    monkeypatch.setattr(fingerprint, "_LARGEST", 2**20)
    assert fingerprint.changes(stranger, stranger) == "the list of those files cannot be read"
