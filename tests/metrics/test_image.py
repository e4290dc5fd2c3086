"""Image metrics against closed forms and scikit-image."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from pix2pix_jax import metrics
from pix2pix_jax.metrics import l1, psnr, ssim

jit_ssim = jax.jit(ssim, static_argnames="data_range")


def pair(seed: int = 0, shape: tuple[int, ...] = (2, 24, 31, 3)) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.random.default_rng(seed).integers(0, 256, (2, *shape), np.uint8))


def reference(output: np.ndarray, target: np.ndarray, data_range: float = 255) -> list[float]:
    return [
        structural_similarity(
            x.astype(np.float64),
            y.astype(np.float64),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=data_range,
            channel_axis=-1,
        )
        for x, y in zip(output, target, strict=True)
    ]


def test_l1_is_the_mean_distance_of_each_image():
    output = np.array([[[[0], [255]]], [[[10], [20]]]], np.uint8)  # uint8 differences would wrap
    target = np.array([[[[255], [0]]], [[[11], [17]]]], np.uint8)
    np.testing.assert_allclose(l1(output, target), [255, 2])


def test_psnr_closed_form():
    output = np.zeros((3, 2, 2, 1), np.uint8)
    target = np.array([255, 16, 0], np.uint8).reshape(3, 1, 1, 1) * np.ones((1, 2, 2, 1), np.uint8)
    np.testing.assert_allclose(psnr(output, target), [0, 20 * np.log10(255 / 16), np.inf], rtol=1e-5, atol=1e-5)


def test_psnr_does_not_depend_on_the_scale_of_the_images():
    output, target = pair()
    scaled = psnr(output / np.float32(127.5) - 1, target / np.float32(127.5) - 1, data_range=2.0)
    np.testing.assert_allclose(scaled, psnr(output, target), rtol=1e-4)


def test_ssim_of_noise_equals_scikit_image():
    output, noise = pair()
    np.testing.assert_allclose(jit_ssim(output, noise), reference(output, noise), atol=1e-4)
    target = (0.7 * output + 0.3 * noise).astype(np.uint8)
    np.testing.assert_allclose(jit_ssim(output, target), reference(output, target), atol=1e-4)


def test_ssim_of_smooth_bright_images_equals_scikit_image():
    """Their variances are small differences of large squares, which float32 loses unless the images are centred."""
    rows, columns = np.mgrid[:24, :31]
    target = np.stack([250 + 3 * np.sin(rows / 9 + k) + columns / 20 for k in range(6)], -1)
    target = target.reshape(24, 31, 2, 3).transpose(2, 0, 1, 3).astype(np.float32)
    output = target + np.random.default_rng(0).normal(0, 1, target.shape).astype(np.float32)
    expected = reference(output, target)
    assert max(expected) < 0.99  # or the comparison would be trivial
    np.testing.assert_allclose(jit_ssim(output, target), expected, atol=5e-6)


def test_ssim_in_another_range():
    output, target = (x / np.float32(127.5) - 1 for x in pair(1))
    np.testing.assert_allclose(jit_ssim(output, target, data_range=2.0), reference(output, target, 2), atol=1e-4)


def test_ssim_of_equal_images_is_1():
    output, _ = pair()
    np.testing.assert_allclose(jit_ssim(output, output), [1, 1], atol=1e-6)


@pytest.mark.parametrize("size", [(10, 31), (31, 10)])
def test_ssim_refuses_images_below_its_window(size):
    image = jnp.zeros((1, *size, 3))
    with pytest.raises(ValueError, match="x".join(map(str, size))):
        ssim(image, image)
    assert ssim(jnp.zeros((1, 11, 11, 3)), jnp.zeros((1, 11, 11, 3))).shape == (1,)


@pytest.mark.parametrize("case", golden.cases.SIMILARITY_SIZES)
def test_similarities_equal_those_of_the_golden_file(case):
    """Of sides that are odd at some scale too."""
    target, output = golden.cases.similarity_images(case)
    for name in ("psnr", "ssim", "ms_ssim"):
        found = getattr(metrics, name)(output, target)
        np.testing.assert_allclose(found, golden.ANSWERS[f"similarity/{case}/{name}"], rtol=1e-4, atol=2e-5)


def test_ms_ssim_refuses_pictures_that_leave_nothing_at_the_last_scale():
    picture = np.zeros((1, 161, 161, 3), np.uint8)
    np.testing.assert_allclose(metrics.ms_ssim(picture, picture), 1, atol=1e-5)
    with pytest.raises(ValueError, match="160x161: MS-SSIM needs at least 161 pixels a side"):
        metrics.ms_ssim(picture[:, 1:], picture[:, 1:])
