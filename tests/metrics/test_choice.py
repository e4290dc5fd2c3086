"""Which metrics are computed, and what is said of the others."""

import numpy as np
import pytest
from golden import drawn_inception, drawn_lpips

from pix2pix_jax.errors import UserError
from pix2pix_jax.metrics import choice, labels
from pix2pix_jax.metrics.choice import ImageSet, MetricsConfig


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    np.savez(folder / "inception.npz", **drawn_inception())
    np.savez(folder / "lpips.npz", **drawn_lpips())
    return {"inception": str(folder / "inception.npz"), "lpips": str(folder / "lpips.npz")}


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for variable in ("PIX2PIX_INCEPTION", "PIX2PIX_LPIPS"):
        monkeypatch.delenv(variable, raising=False)


def make_pictures(size=(256, 256), channels=3, count=100, palette="none", colour=(0, 0, 223)):
    sample = np.broadcast_to(np.uint8(colour), (2, *size, 3))
    return ImageSet(size=size, channels=channels, count=count, palette=palette, sample=lambda: sample)


def test_by_default_those_that_need_nothing_else():
    found = choice.choose(MetricsConfig(), make_pictures())
    assert found.metrics == ("l1", "psnr", "ssim", "ms_ssim")
    assert found.left_out.keys() == {"lpips", "fid", "kid"}
    assert "--lpips=FILE or PIX2PIX_LPIPS names them" in found.left_out["lpips"]


def test_by_default_those_whose_weights_are_there_too(files):
    found = choice.choose(MetricsConfig(**files), make_pictures())
    assert found.metrics == ("l1", "psnr", "ssim", "ms_ssim", "lpips", "fid", "kid")
    assert not found.left_out and not found.inception.is_published


@pytest.mark.parametrize(
    ("metric", "pictures", "message"),
    [
        ("ms_ssim", {"size": (160, 256)}, "ms_ssim: needs pictures of at least 161 pixels a side, not 160x256"),
        ("lpips", {"size": (16, 256)}, "lpips: needs pictures of at least 32 pixels a side, not 16x256"),
        ("fid", {"count": 9}, "fid: needs at least 10 pictures a set, and here are 9; kid takes 2"),
        ("clean_fid", {"count": 1}, "clean_fid: needs at least 10 pictures a set, and here are 1; clean_kid takes 2"),
        ("kid", {"count": 1}, "kid: needs at least 2 pictures a set, and here are 1$"),
        ("fid", {"channels": 4}, "fid: needs pictures of 1 or 3 channels, not 4"),
        ("labels", {}, "labels: needs --palette=facades, cityscapes or FILE.json"),
        ("labels", {"palette": "facades", "colour": (9, 99, 9)}, "labels: --palette=facades does not fit .* 100% of"),
        ("fids", {}, "fids: no such metric; there are l1, psnr, "),
    ],
)
def test_what_cannot_be_had_is_refused_when_asked_for_and_left_out_otherwise(files, metric, pictures, message):
    with pytest.raises(UserError, match=message):
        choice.choose(MetricsConfig(metrics=("l1", metric), **files), make_pictures(**pictures))
    found = choice.choose(MetricsConfig(**files), make_pictures(**pictures))
    assert metric not in found.metrics
    if metric not in ("fids", "clean_fid") and pictures:
        assert f"{metric}: {found.left_out[metric]}".startswith(message.split(" .*")[0].rstrip("$"))


def test_labels_of_sets_whose_palette_is_known():
    found = choice.choose(MetricsConfig(), make_pictures(palette="facades"))
    assert "labels" in found.metrics and found.palette is labels.PALETTES["facades"]
    assert "labels" not in choice.choose(MetricsConfig(palette="none"), make_pictures(palette="facades")).metrics
    assert "labels" in choice.choose(MetricsConfig(palette="facades"), make_pictures()).metrics


def test_a_palette_that_was_asked_for_and_does_not_fit_is_refused():
    with pytest.raises(UserError, match="labels: --palette=cityscapes does not fit"):
        choice.choose(MetricsConfig(palette="cityscapes"), make_pictures(palette="facades", colour=(255, 239, 0)))
