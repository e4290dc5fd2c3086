"""The FID's network and resizes, against an independent PyTorch program and the published features."""

import jax
import numpy as np
import pytest
from golden import ANSWERS, cases, drawn_inception

from pix2pix_jax.metrics import inception


def test_the_arrays_are_those_of_the_published_file():
    shapes = inception.shapes()
    assert shapes == {name: array.shape for name, array in drawn_inception().items()}
    assert len(shapes) == 470


def test_features_equal_those_of_pytorch():
    """Random weights make features that depend little on the image: what they differ by is compared too."""
    network = jax.jit(inception.Inception().apply)
    found = np.asarray(network(inception.fold(drawn_inception()), cases.inception_images().astype(np.float32)))
    expected = ANSWERS["inception/features"]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    difference = expected[0] - expected[1]
    np.testing.assert_allclose(found[0] - found[1], difference, atol=1e-3 * np.abs(difference).max())


@pytest.mark.parametrize("case", cases.RESIZED)
def test_resizes_equal_those_of_the_published_programs(case):
    image = cases.resized_image(case)[None]
    bilinear = np.asarray(inception.resize_as_pytorch_fid(image))[0, list(cases.ROWS)]
    np.testing.assert_allclose((bilinear + 1) * 127.5, ANSWERS[f"bilinear/{case}"], atol=1e-4)
    bicubic = inception.resize_as_clean_fid(image)[0, list(cases.ROWS)]
    np.testing.assert_allclose(bicubic * 128 + 128, ANSWERS[f"bicubic/{case}"], atol=1e-5)
