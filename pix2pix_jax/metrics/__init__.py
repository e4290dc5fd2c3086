"""Measures of how close translations are to their targets."""

from pix2pix_jax.metrics.choice import LOWER_IS_BETTER, METRICS, Request
from pix2pix_jax.metrics.image import l1, ms_ssim, psnr, ssim

__all__ = ["LOWER_IS_BETTER", "METRICS", "Request", "l1", "ms_ssim", "psnr", "ssim"]
