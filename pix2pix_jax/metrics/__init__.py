"""Measures of how close translations are to their targets."""

from pix2pix_jax.metrics.image import l1, psnr, ssim

__all__ = ["l1", "psnr", "ssim"]
