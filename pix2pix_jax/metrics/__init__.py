"""Metrics of how close translations are to their targets.

`l1`, `psnr`, `ssim` and `ms_ssim` are functions of arrays; `score` computes all metrics, also those with networks.
"""

from etils import epy

with epy.lazy_api_imports(globals()):  # a config is checked against names of metrics, without their networks
    from pix2pix_jax.metrics.choice import MetricsConfig
    from pix2pix_jax.metrics.image import l1, ms_ssim, psnr, ssim
    from pix2pix_jax.metrics.names import LOWER_IS_BETTER, METRICS
    from pix2pix_jax.metrics.scorer import score

__all__ = ["LOWER_IS_BETTER", "METRICS", "MetricsConfig", "l1", "ms_ssim", "psnr", "score", "ssim"]
