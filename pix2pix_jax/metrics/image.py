"""Image metrics L1, PSNR, SSIM and MS-SSIM: one number for each pair of images."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

_WINDOW = 11
_SIGMA = 1.5
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SSIM_SIDE = _WINDOW  # smallest side that SSIM takes, in pixels
MS_SSIM_SIDE = (_WINDOW - 1) * 2 ** (len(_SCALE_WEIGHTS) - 1) + 1


def l1(output: jax.Array, target: jax.Array) -> jax.Array:
    """Computes the mean absolute difference, (N, H, W, C) -> (N,), in the units of the images."""
    return jnp.abs(output.astype(jnp.float32) - target.astype(jnp.float32)).mean((1, 2, 3))


def psnr(output: jax.Array, target: jax.Array, *, data_range: float = 255.0) -> jax.Array:
    """Computes the peak signal-to-noise ratio in dB, 10 log10(data_range^2 / MSE), (N,); infinite for equal images.

    Args:
      output, target: (N, H, W, C), integer or floating.
      data_range: largest possible value minus the smallest: 255 for uint8, 2 for [-1, 1].
    """
    error = jnp.square(output.astype(jnp.float32) - target.astype(jnp.float32)).mean((1, 2, 3))
    return 20 * jnp.log10(data_range) - 10 * jnp.log10(error)


def ssim(output: jax.Array, target: jax.Array, *, data_range: float = 255.0) -> jax.Array:
    """Computes structural similarity (Wang et al. 2004), at most 1, as means over channels and all whole windows, (N,).

    The published constants: a Gaussian window of 11x11 with sigma 1.5, K1 = 0.01, K2 = 0.03, population covariance.
    Equals scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)`.
    Arguments are as for `psnr`; raises ValueError if H or W is below SSIM_SIDE, 11.
    """
    _check_size(output, SSIM_SIDE, "SSIM")
    luminance, structure = _similarity(_scaled(output, data_range), _scaled(target, data_range))
    return (luminance * structure).mean((1, 2, 3))


def ms_ssim(output: jax.Array, target: jax.Array, *, data_range: float = 255.0) -> jax.Array:
    """Computes structural similarity over five scales (Wang, Simoncelli and Bovik 2003), from 0 to 1, (N,).

    It is the mean over the channels, with the published weights of scales, window and constants. As in pytorch-msssim,
    whose results it equals, 2x2 means halve the images between scales, odd sides get a black border first, and negative
    structure counts as 0. Arguments are as for `psnr`; raises ValueError if H or W is below MS_SSIM_SIDE, 161.
    """
    _check_size(output, MS_SSIM_SIDE, "MS-SSIM")
    x, y = _scaled(output, data_range), _scaled(target, data_range)
    product = 1.0
    for weight in _SCALE_WEIGHTS[:-1]:
        structure = _similarity(x, y)[1].mean((1, 2))
        product *= jnp.maximum(structure, 0) ** weight
        x, y = _halve(x), _halve(y)
    luminance, structure = _similarity(x, y)
    coarsest = (luminance * structure).mean((1, 2))
    return (product * jnp.maximum(coarsest, 0) ** _SCALE_WEIGHTS[-1]).mean(-1)


def _check_size(image: jax.Array, least: int, metric: str) -> None:
    _, height, width, _ = image.shape
    if min(height, width) < least:
        raise ValueError(f"images of {height}x{width}: {metric} needs at least {least} pixels a side")


def _scaled(image: jax.Array, data_range: float) -> jax.Array:
    """Maps values to [-0.5, 0.5]; uncentred, variances of bright, flat regions would cancel in float32."""
    return image.astype(jnp.float32) / data_range - 0.5


def _halve(x: jax.Array) -> jax.Array:
    """Halves `_scaled` images, in which black is -0.5."""
    border = [(side % 2, side % 2) for side in x.shape[1:3]]
    return nn.avg_pool(x + 0.5, (2, 2), strides=(2, 2), padding=border) - 0.5  # pyright: ignore[reportArgumentType]


def _similarity(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns SSIM's two factors for every window of `_scaled` images: luminance, and contrast times structure."""
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2 * covariance + c2) / (var_x + var_y + c2)


def _blur(x: jax.Array) -> jax.Array:
    """Computes Gaussian-weighted means over all whole windows, (N, H, W, C) -> (N, H-10, W-10, C)."""
    offsets = jnp.arange(_WINDOW) - _WINDOW // 2
    weights = jnp.exp(-(offsets**2) / (2 * _SIGMA**2))
    weights = weights / weights.sum()
    n, h, w, c = x.shape
    planes = x.transpose(0, 3, 1, 2).reshape(n * c, 1, h, w)
    for shape in ((1, 1, _WINDOW, 1), (1, 1, 1, _WINDOW)):
        # The default precision of accelerators has 8 to 10 bits of mantissa.
        planes = lax.conv(planes, weights.reshape(shape), (1, 1), "VALID", precision=lax.Precision.HIGHEST)
    return planes.reshape(n, c, *planes.shape[2:]).transpose(0, 2, 3, 1)
