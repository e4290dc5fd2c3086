"""Cityscapes, labels -> photograph: 2,975 pairs. The set is not free to download: users register and bring its files.

Command: pix2pix train --config=cityscapes_labels2photo --config.data_dir=DIR --workdir=runs/cityscapes
         (DIR holds leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip of cityscapes-dataset.com, or pairs: train/
         and val/ of side-by-side images, photograph left)
Recipe:  Isola et al. 2017, section 6.2: batch 1, 200 epochs (595,000 steps), jitter from 286 px, mirroring.
Expect:  FCN scores 0.66 (pixels), 0.23 (classes), 0.17 (IoU) in the paper's table 1.
Measured: not yet; no GPU has been at hand.
"""

from pix2pix_jax.configs import default


def get_config():
    config = default.get_config()
    config.dataset = "cityscapes"
    config.direction = "BtoA"
    return config
