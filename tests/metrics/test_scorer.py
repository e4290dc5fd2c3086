"""All metrics of pictures in memory: the same as of each alone, whatever the batch."""

import numpy as np
import pytest
from golden import drawn_lpips
from skimage import metrics as reference

from pix2pix_jax import metrics
from pix2pix_jax.metrics import labels
from pix2pix_jax.runtime import meshes


@pytest.fixture(scope="module")
def pictures():
    targets = np.random.default_rng(0).integers(0, 256, (11, 8, 10, 3), np.uint8).repeat(4, 1).repeat(4, 2)
    noise = np.random.default_rng(1).integers(-20, 21, targets.shape)
    return (targets.astype(int) + noise).clip(0, 255).astype(np.uint8), targets


def test_numbers_of_each_picture(pictures, tmp_path):
    """11 pictures leave a part of the batches of 8 devices."""
    np.savez(tmp_path / "lpips.npz", **drawn_lpips())
    request = metrics.MetricsConfig(metrics=("psnr", "lpips"), lpips=str(tmp_path / "lpips.npz"))
    records, totals = metrics.score(*pictures, request)
    assert len(records) == 11 and totals == {}
    for record, output, target in zip(records, *pictures, strict=True):
        assert record["psnr"] == pytest.approx(reference.peak_signal_noise_ratio(target, output), rel=1e-5)
    alone, _ = metrics.score(pictures[0][10:], pictures[1][10:], request)
    assert alone[0] == pytest.approx(records[10], rel=1e-5)


def test_pictures_that_fill_up_a_batch_do_not_count(monkeypatch):
    palette = labels.PALETTES["facades"]
    colours = np.array(list(palette.colours.values()), np.uint8)
    truth = np.random.default_rng(0).integers(0, 12, (5, 16, 16))
    predicted = np.where(np.random.default_rng(1).random(truth.shape) < 0.7, truth, (truth + 1) % 12)
    monkeypatch.setattr(meshes, "make_local_mesh", lambda: meshes.make_mesh(batch_size=8))
    request = metrics.MetricsConfig(metrics=("labels",), palette="facades")
    records, totals = metrics.score(colours[predicted], colours[truth], request)
    assert totals["pixel_accuracy"] == (predicted == truth).mean()
    assert records[4]["pixel_accuracy"] == (predicted[4] == truth[4]).mean()
    counts = np.zeros((12, 12))
    np.add.at(counts, (truth, predicted), 1)
    assert totals == labels.scores(counts)


def test_arrays_that_are_no_pictures(pictures):
    output, target = pictures
    for wrong in (output.astype(np.float32), output[:5], output[0]):
        with pytest.raises(ValueError, match=r"must be uint8 \(N, H, W, C\) both"):
            metrics.score(wrong, target)
