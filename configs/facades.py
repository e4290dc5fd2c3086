"""Facades, labels -> photo: 400 pairs of Tylecek and Sara's CMP facades as published with pix2pix.

Command: pix2pix train --config=facades --workdir=runs/facades
         (downloads the set; with --config.data_dir=DIR reads a folder that holds its train/, val/ and test/)
Recipe:  Isola et al. 2017, section 6.2: batch 1, 200 epochs, jitter from 286 px, mirroring; 80,000 steps.
Measured: 128 px, 50 epochs, split test, seed 0: FID 213, KID 0.158, LPIPS 0.356, L1 0.351 (2026-11-29,
         2 CPU cores; docs/results.md). At full size and length: not yet.
"""

from pix2pix_jax.configs import default


def get_config():
    config = default.get_config()
    config.dataset = "facades"
    config.direction = "BtoA"
    return config
