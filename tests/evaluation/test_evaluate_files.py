"""Picture files of any program against others: how they are paired, what is found, and mistakes."""

import json
import pathlib
import unicodedata

import numpy as np
import pytest
from golden import drawn_inception, drawn_lpips
from PIL import Image
from skimage import metrics as reference

from pix2pix_jax import cli

COUNT = 10  # as few as FID takes


def write(folder: pathlib.Path, pictures, ending="") -> pathlib.Path:
    folder.mkdir(parents=True)
    for i, picture in enumerate(pictures, 1):
        Image.fromarray(picture).save(folder / f"{i}{ending}.png")
    return folder


@pytest.fixture(scope="module")
def pictures():
    targets = np.random.default_rng(0).integers(0, 256, (COUNT, 10, 12, 3), np.uint8).repeat(4, 1).repeat(4, 2)
    noise = np.random.default_rng(1).integers(-20, 21, targets.shape)
    return (targets.astype(int) + noise).clip(0, 255).astype(np.uint8), targets


@pytest.fixture
def folders(tmp_path, pictures, monkeypatch):
    """Files as pytorch-CycleGAN-and-pix2pix leaves them: all in one folder, told apart by their endings."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for variable in ("PIX2PIX_INCEPTION", "PIX2PIX_LPIPS"):
        monkeypatch.delenv(variable, raising=False)
    return write(tmp_path / "fake", pictures[0], "_fake_B"), write(tmp_path / "real", pictures[1], "_real_B")


def evaluate(fake, real, output, *flags):
    return cli.main(["evaluate", f"--pictures={fake}", f"--targets={real}", f"--output={output}", *flags])


def mistake(capsys, *arguments) -> str:
    assert evaluate(*arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("pix2pix evaluate: error: ")
    return error.removeprefix("pix2pix evaluate: error: ")


def test_numbers_of_files_by_their_names(folders, pictures, tmp_path, capsys):
    assert evaluate(*folders, tmp_path / "out") == 0
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert report["num_examples"] == COUNT and [record["name"] for record in report["images"]][:3] == ["1", "2", "3"]
    for record, output, target in zip(report["images"], *pictures, strict=True):
        assert record["psnr"] == pytest.approx(reference.peak_signal_noise_ratio(target, output), rel=1e-4)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / record["files"]["output"])), output)
    shown = capsys.readouterr().out
    assert "without fid: no weights; --metrics=fid downloads them" in shown
    assert f"over {COUNT} pairs" in shown and "index.html" in shown


@pytest.mark.heavy
def test_distances_with_weights_of_files(folders, tmp_path, monkeypatch, capsys):
    np.savez(tmp_path / "inception.npz", **drawn_inception())
    np.savez(tmp_path / "lpips.npz", **drawn_lpips())
    monkeypatch.setenv("PIX2PIX_LPIPS", str(tmp_path / "lpips.npz"))
    flags = ("--metrics=fid,kid,lpips", f"--inception={tmp_path / 'inception.npz'}")
    assert evaluate(*folders, tmp_path / "out", *flags) == 0
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert report["total"]["fid"] > 0 and report["mean"].keys() == {"lpips"}
    assert report["weights"]["inception"]["published"] is False
    assert "are not the published ones" in capsys.readouterr().out
    # Targets' features are taken from their file the second time, which the result does not show.
    (kept,) = (tmp_path / "cache" / "pix2pix_jax" / "features").glob("*.npz")
    changed = kept.stat().st_mtime_ns
    assert evaluate(*folders, tmp_path / "again", *flags) == 0
    assert json.loads((tmp_path / "again" / "metrics.json").read_text())["total"] == report["total"]
    assert kept.stat().st_mtime_ns == changed


@pytest.mark.heavy
def test_equal_sets_are_no_distance_apart(folders, tmp_path):
    np.savez(tmp_path / "inception.npz", **drawn_inception())
    flags = ("--metrics=fid", f"--inception={tmp_path / 'inception.npz'}")
    assert evaluate(folders[1], folders[1], tmp_path / "out", *flags) == 0
    assert abs(json.loads((tmp_path / "out" / "metrics.json").read_text())["total"]["fid"]) < 1e-6


def test_one_file_against_another(folders, tmp_path):
    assert evaluate(folders[0] / "3_fake_B.png", folders[1] / "3_real_B.png", tmp_path / "out", "--metrics=l1") == 0


def test_other_files_beside_them_and_accents_taken_apart(folders, pictures, tmp_path, capsys):
    fake, real = folders
    for folder, form in ((fake, "NFC"), (real, "NFD")):
        name = unicodedata.normalize(form, "für")
        Image.fromarray(pictures[1][0]).save(folder / f"{name}{'_fake_B' if folder is fake else '_real_B'}.png")
    (fake / "notes.txt").write_text("")
    (real / "x.heic").write_text("")
    assert evaluate(fake, real, tmp_path / "out", "--metrics=l1") == 0
    out = capsys.readouterr().out
    assert "--pictures: ignored 1 other file (notes.txt)" in out and "--targets: ignored 1 picture (x" in out
    assert f"over {COUNT + 1} pairs" in out


def test_mistakes_are_one_line(folders, pictures, tmp_path, capsys):
    fake, real = folders
    out = tmp_path / "out"
    few = write(tmp_path / "few", pictures[1][:9])
    large = write(tmp_path / "large", pictures[1].repeat(2, 1), "_real_B")
    assert f"fake: 1 of 10 files has no partner of the same name in {few}: 10_" in mistake(capsys, fake, few, out)
    assert "80x48 (HxW), but" in mistake(capsys, fake, large, out)
    assert "--targets=nowhere: no such file or directory" in mistake(capsys, fake, "nowhere", out)
    assert "--pictures=" in mistake(capsys, f"{tmp_path}/x*.png", real, out)
    message = mistake(capsys, fake / "3_fake_B.png", real / "3_real_B.png", out, "--metrics=fid")
    assert message.startswith("fid: needs at least 10 pictures a set, and here are 1; kid takes 2")
    assert "wrong.npz: not the weights of inception" in mistake(
        capsys, fake, real, out, "--metrics=fid", f"--inception={wrong_weights(tmp_path)}"
    )
    assert "--inception=nowhere.npz: no such file" in mistake(capsys, fake, real, out, "--inception=nowhere.npz")
    assert "does not fit the label maps" in mistake(capsys, fake, real, out, "--palette=facades")
    assert "give --inputs=FOLDER" in mistake(capsys, fake, real, out, "--segmenter=x.onnx", "--palette=facades")
    assert "--output=: empty" in mistake(capsys, fake, real, "")
    assert "--targets=: empty" in mistake(capsys, fake, "", out)
    assert not out.exists()


def wrong_weights(folder: pathlib.Path) -> pathlib.Path:
    np.savez(folder / "wrong.npz", **drawn_lpips())
    return folder / "wrong.npz"
