"""prepare: what it reports, lists and draws."""

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from pix2pix_jax import cli
from pix2pix_jax import configuration as config_lib
from pix2pix_jax.errors import UserError
from pix2pix_jax.training import prepare

SMALL = ("--config.image_size=32,32", "--config.resize_size=32,32")


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(sum(shape)).integers(0, 256, shape).astype(dtype)


def fill(folder, count=4, size=(32, 64)):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = noise(*size, 3)
        pixels[0, 0] = i
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def run(tmp_path, capsys):
    """run(data_dir, flag, ...) -> what was printed; the preview goes to tmp_path / "out"."""

    def run(data_dir, *flags, dataset="folder"):
        config = config_lib.load(
            "default", [*SMALL, f"--config.dataset={dataset}", f"--config.data_dir={data_dir}", *flags]
        )
        prepare.prepare(config, output=tmp_path / "out")
        return capsys.readouterr().out

    return run


def test_the_report(run, tmp_path):
    fill(tmp_path / "data" / "train", 5)
    fill(tmp_path / "data" / "val", 2, size=(40, 60))
    Image.fromarray(noise(100, 200)).save(tmp_path / "data" / "train" / "large.png")
    report = run(tmp_path / "data", "--config.direction=BtoA")
    assert "train: 6 pairs" in report and "val: 2 pairs" in report and "test: none" in report
    assert (
        "input (right half): 2 sizes, smallest 32x32 (HxW), largest 100x100 (HxW), most common 32x32 (HxW) (5)"
        in report
    )
    assert "3 channels (5), 1 channel (1); uint8; values 0 to 255" in report
    assert "target (left half): all 40x30 (HxW)" in report
    assert "duplicates" not in report


def test_the_preview_has_input_left_and_target_right(run, tmp_path):
    for folder, colour in (("trainA", (200, 0, 0)), ("trainB", (0, 0, 200))):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for i in range(3):
            pixels = np.full((32, 32, 3), colour, np.uint8)
            pixels[0, 0] = i
            Image.fromarray(pixels).save(tmp_path / "data" / folder / f"{i}.png")
    run(tmp_path / "data", "--config.direction=BtoA")
    grid = np.asarray(Image.open(tmp_path / "out" / "prepare-preview.png")).astype(int)
    red, blue = ((grid[..., on] > 150) & (grid[..., off] < 50) for on, off in ((0, 2), (2, 0)))
    assert red.sum() > 2900 and blue.sum() > 2900
    assert np.nonzero(blue.any(0))[0].max() < np.nonzero(red.any(0))[0].min()  # BtoA: B is the input


def test_duplicates_between_splits_are_named(run, tmp_path):
    train = fill(tmp_path / "data" / "train", 4)
    (tmp_path / "data" / "val").mkdir()
    Image.open(train / "2.png").save(tmp_path / "data" / "val" / "copy.bmp")  # other bytes, the same pixels
    fill(tmp_path / "data" / "test", 1, size=(34, 64))
    report = run(tmp_path / "data")
    assert "duplicates: 1 pairs are in more than one split" in report
    assert "train: train/2 = val: val/copy" in report


def test_lists_of_duplicates_are_bounded(run, tmp_path):
    train, val = fill(tmp_path / "data" / "train", 14), fill(tmp_path / "data" / "val", 14)
    for i in range(20):
        for folder in (train, val):
            Image.fromarray(np.zeros((32, 64, 3), np.uint8)).save(folder / f"black{i:02d}.png")
    report = run(tmp_path / "data").split("duplicates: ")[1].splitlines()
    assert report[0].startswith("15 pairs are in more than one split") and report[11] == "  and 5 more"
    assert max(len(line) for line in report[:12]) < 100


def test_many_equal_pairs_are_counted():
    places = [("train", str(i)) for i in range(40)] + [("val", "a"), ("val", "b"), ("test", "x")]
    assert prepare._equal(places) == "train: 0 = val: a = test: x = train: 1 = 39 more"
    assert prepare._equal([("train", "a"), ("val", "b")]) == "train: a = val: b"


def test_what_is_left_out_and_animated_is_said(run, tmp_path):
    train = fill(tmp_path / "data" / "train", 3)
    (train / "x.heic").write_bytes(b"")
    frames = [Image.fromarray(noise(32, 64 + i, 3)[:, :64]) for i in range(3)]
    frames[0].save(train / "a.webp", save_all=True, append_images=frames[1:])
    report = run(tmp_path / "data")
    assert "ignored 1 picture (x.heic) that cannot be read" in report
    assert "of 1 pairs a file is an animation, whose first frame is taken" in report


def test_all_that_cannot_be_used_is_listed(tmp_path, capsys):
    train = fill(tmp_path / "train", 4)
    (train / "1.png").write_bytes(b"")
    (train / "3.png").write_bytes((train / "3.png").read_bytes()[:300])
    Image.fromarray(noise(5, 7)).save(train / "odd.png")
    output = f"--output={tmp_path / 'out'}"
    assert cli.main(["prepare", "--config=folder", f"--config.data_dir={tmp_path}", *SMALL, output]) == 2
    out, err = capsys.readouterr()
    assert "train: 5 pairs, of which 3 cannot be used" in out
    assert all(f"{name}.png: {why}" in out for name, why in (("1", "not a"), ("3", "damaged"), ("odd", "7 pixels")))
    assert "1.png: not a readable image" in err and "(and 2 more files, listed above)" in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_floats_without_a_range_get_the_range_that_was_found(run, tmp_path, capsys):
    for i in range(3):
        for folder, image in (("A", noise(32, 32, dtype=np.uint16)), ("B", np.full((32, 32), i / 2 - 1, np.float32))):
            (tmp_path / folder).mkdir(exist_ok=True)
            tifffile.imwrite(tmp_path / folder / f"{i}.tif", image)
    with pytest.raises(UserError, match=r"all training files from .* --config\.target_range=-1,-?0"):
        run(tmp_path, "--config.target_channels=1")
    assert (tmp_path / "out" / "prepare-preview.png").exists()
    assert "that is little of 65535: --config.input_range=0,255" in capsys.readouterr().out
    run(tmp_path, "--config.target_channels=1", "--config.target_range=-1,1")


def test_channels_that_are_not_the_config_s(run, tmp_path, capsys):
    for folder, channels in (("trainA", 4), ("trainB", 3)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.png").write_bytes(imagecodecs.png_encode(noise(32, 32, channels)))
    run(tmp_path)  # alpha is put on white
    assert "4 channels" in run(tmp_path, "--config.input_channels=4")
    with pytest.raises(UserError, match=r"set --config\.input_channels=4"):
        run(tmp_path, "--config.input_channels=5")


def test_an_unpaired_file_in_val_is_no_missing_split(run, tmp_path):
    for name in ("trainA/0", "trainB/0", "valA/0", "valB/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(noise(32, 32, 3)).save(tmp_path / f"{name}.png")
    with pytest.raises(UserError, match="no partner"):
        run(tmp_path)


def test_photographs(run, tmp_path):
    fill(tmp_path / "data", 10)
    report = run(tmp_path / "data", "--config.color_space=lab")
    assert "train: 9 pairs" in report and "input (whole image): all 32x64 (HxW)" in report


def test_the_embedded_set(run, monkeypatch):
    from pix2pix_jax.data.sources import datasets

    monkeypatch.setattr(datasets, "_DRAWN_COUNT", {"train": 3, "val": 2, "test": 1})
    report = run("", dataset="drawn_facades")
    assert "input (photo): all 32x32 (HxW); 3 channels; uint8" in report and "test: 1 pair" in report


def test_a_preview_that_cannot_be_written(tmp_path):
    fill(tmp_path / "data", 4)
    (tmp_path / "out").write_text("precious")
    config = config_lib.load("folder", [*SMALL, f"--config.data_dir={tmp_path / 'data'}"])
    with pytest.raises(UserError, match=r"--output=.*out: a file; give a folder"):
        prepare.prepare(config, output=tmp_path / "out")


def test_sizes_that_training_cannot_take_are_found(run, tmp_path, capsys):
    data = fill(tmp_path / "data", 20, size=(40, 80))
    Image.fromarray(noise(24, 48, 3)).save(data / "0.png")
    run(data)  # which resizes all of them
    with pytest.raises(
        UserError, match=r"24x24 \(HxW\) under config.preprocess=crop, but config.image_size is 32x32 \(HxW\)"
    ):
        run(data, "--config.preprocess=crop")
