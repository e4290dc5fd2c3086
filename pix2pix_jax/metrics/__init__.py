"""Measures of how close translations are to their targets."""

from pix2pix_jax.metrics.image import l1, psnr, ssim

LOWER_IS_BETTER = frozenset(("l1", "lpips", "fid", "kid"))

__all__ = ["LOWER_IS_BETTER", "l1", "psnr", "ssim"]
