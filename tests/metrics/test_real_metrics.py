"""The published networks on real facades, against the published tools' own numbers (golden/make_real_metrics.py)."""

import json

import jax
import numpy as np
import pytest
from golden import FOLDER, real_pictures

from pix2pix_jax import cli, metrics
from pix2pix_jax.data.files.images import encode
from pix2pix_jax.metrics import inception, labels, lpips, weights

pytestmark = pytest.mark.heavy

KNOWN = json.loads((FOLDER / "real_metrics.json").read_text())


@pytest.fixture(scope="module")
def published(facades):
    """The folder of the published weights."""
    return facades.parents[1] / "weights"


@pytest.fixture(scope="module")
def sets(facades):
    found = real_pictures.picture_sets(facades / "test")
    for name, pictures in found.items():
        assert [real_pictures.digest(x) for x in pictures] == KNOWN["sets"][name]["digest"]
    return found


def test_features_are_the_published_ones(published):
    known = np.load(published / "inception_fid_golden.npz")
    loaded = weights.load(weights.INCEPTION, str(published / "inception_fid.npz"))
    assert loaded.is_published
    found = jax.jit(inception.Inception().apply)(loaded.variables, known["x"])
    np.testing.assert_allclose(found, known["features"], atol=1e-4)


@pytest.mark.parametrize("name", KNOWN["sets"])
def test_fid_and_kid_are_those_of_the_published_tools(sets, published, tmp_path, name):
    """To what is left of their digits: single precision moves features, and SciPy's root of a singular product 1e-4."""
    for folder, pictures in zip(("pictures", "targets"), sets[name], strict=True):
        (tmp_path / folder).mkdir()
        for i, picture in enumerate(pictures):
            (tmp_path / folder / f"{i}.png").write_bytes(encode(picture, ".png"))
    flags = ("--metrics=fid,kid,clean_fid,clean_kid", f"--inception={published / 'inception_fid.npz'}")
    files = (f"--pictures={tmp_path / 'pictures'}", f"--targets={tmp_path / 'targets'}", f"--output={tmp_path / 'out'}")
    assert cli.main(["evaluate", *files, *flags]) == 0
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found["weights"]["inception"]["published"]
    for prefix, tool in (("", "pytorch_fid"), ("clean_", "clean_fid")):
        known, exact = KNOWN["sets"][name][tool], KNOWN["sets"][name]["float64"][tool]
        assert found["total"][f"{prefix}fid"] == pytest.approx(exact["fid"], abs=5e-5)
        assert found["total"][f"{prefix}fid"] == pytest.approx(known["fid"], abs=2e-4)
        assert found["total"][f"{prefix}kid"] == pytest.approx(exact["kid"], abs=1e-6)
        assert found["total"][f"{prefix}kid"] == pytest.approx(known["kid"]["clean_fid_100_of_all"], abs=1e-6)


def test_scores_of_single_pictures(facades, published):
    sets = real_pictures.picture_sets(facades / "test")
    pictures, targets = (x[:4] for x in sets["blurred_256x256"])
    known = KNOWN["pairs"]["blurred_256x256"]["scores"]
    np.testing.assert_allclose(metrics.psnr(pictures, targets), known["psnr/skimage"], rtol=1e-5)
    np.testing.assert_allclose(metrics.ssim(pictures, targets), known["ssim/skimage"], atol=1e-5)
    np.testing.assert_allclose(metrics.ms_ssim(pictures, targets), known["ms_ssim/pytorch_msssim"], atol=1e-5)
    network = weights.load(weights.LPIPS, str(published / "lpips_alex.npz"))
    assert network.is_published
    floats = (x.astype(np.float32) / 127.5 - 1 for x in (pictures, targets))
    found = jax.jit(lpips.LPIPS().apply)(network.variables, *floats)
    np.testing.assert_allclose(found, known["lpips/lpips"], atol=1e-5)


def test_label_scores(facades):
    _, label_maps = real_pictures.halves(facades / "test")
    palette = labels.PALETTES["facades"]
    predicted, truth = (palette.classes(x) for x in (real_pictures.noisy_labels(label_maps), label_maps))
    counts = np.asarray(labels.confusion(predicted, truth, len(palette)), np.int64).sum(0)
    np.testing.assert_array_equal(counts, KNOWN["labels"]["confusion"])
    found, known = labels.scores(counts), KNOWN["labels"]["formula"]
    assert found["pixel_accuracy"] == pytest.approx(known["pixel_accuracy"], rel=1e-12)
    assert found["class_accuracy"] == pytest.approx(known["class_accuracy"], rel=1e-12)
    assert found["mean_iou"] == pytest.approx(known["class_iou"], rel=1e-12)
