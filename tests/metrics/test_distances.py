"""Distances of sets, against independent formulas in float64 and closed forms."""

import numpy as np
import pytest
from golden import ANSWERS, cases
from hypothesis import given, settings
from hypothesis import strategies as st

from pix2pix_jax.metrics import distances


@pytest.mark.parametrize("case", cases.FEATURES)
def test_frechet_of_features(case):
    """Of "few" there are fewer than features, so that covariances are singular."""
    assert distances.frechet(*cases.features(case)) == pytest.approx(float(ANSWERS[f"fid/{case}"]), rel=1e-9)


def test_frechet_of_gaussians_in_closed_form():
    (mean, covariance), (other_mean, other_covariance) = cases.gaussians()
    found = distances.frechet_of_gaussians(mean, covariance, other_mean, other_covariance)
    assert found == pytest.approx(float(ANSWERS["fid/gaussians"]), rel=1e-9)


def test_frechet_of_equal_sets_is_nothing():
    ours, _ = cases.features("few")
    assert abs(distances.frechet(ours, ours)) < 1e-9


@given(seed=st.integers(0, 2**31), rows=st.integers(2, 700))
@settings(max_examples=40, deadline=None)
def test_frechet_of_single_precision_is_that_of_double(seed, rows):
    """Of numbers far from 0, where sums of squares would cancel."""
    features, other = (np.random.default_rng(seed).normal(size=(2, rows, 5)) + 1e4).astype(np.float32)
    exact = distances.frechet(features - 1e4, other - 1e4)
    assert distances.frechet(features, other) == pytest.approx(exact, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("case", cases.FEATURES)
def test_kernel_of_equal_sizes_is_that_of_all(case):
    assert distances.kernel(*cases.features(case)) == pytest.approx(float(ANSWERS[f"kid/{case}"]), rel=1e-9)


def test_kernel_of_subsets_as_torch_fidelity_draws_them(monkeypatch):
    monkeypatch.setattr(distances, "SUBSETS", cases.SUBSETS["subsets"])
    monkeypatch.setattr(distances, "SUBSET_SIZE", cases.SUBSETS["size"])
    for case in cases.FEATURES:
        expected = ANSWERS[f"kid/{case}/subsets"].mean()
        assert distances.kernel(*cases.features(case)) == pytest.approx(float(expected), rel=1e-9)


def test_kernel_of_sets_of_one_distribution_is_about_nothing_either_side():
    random = np.random.default_rng(0)
    found = [distances.kernel(*random.normal(size=(2, 30, 16))) for _ in range(200)]
    assert min(found) < 0 < max(found)
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))
