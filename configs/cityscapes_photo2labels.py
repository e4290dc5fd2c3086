"""Cityscapes, photograph -> labels: 2,975 pairs. The set is not free to download: users register and bring its files.

Command: pix2pix train --config=cityscapes_photo2labels --config.data_dir=DIR --workdir=runs/cityscapes_labels
         (DIR holds leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip of cityscapes-dataset.com, or pairs: train/
         and val/ of side-by-side images, photograph left)
Recipe:  Isola et al. 2017, sections 4.4 and 6.2: batch 1, 200 epochs (595,000 steps), jitter from 286 px, mirroring.
Expect:  0.83 (pixels), 0.36 (classes), 0.29 (IoU) in the paper's table 6; L1 alone 0.86, 0.42, 0.35.
Measured: not yet; no GPU has been at hand.
"""

from pix2pix_jax.configs import default


def get_config():
    config = default.get_config()
    config.dataset = "cityscapes"
    config.direction = "AtoB"
    return config
