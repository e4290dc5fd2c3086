"""A discriminator of 16x16 patches.

Command: pix2pix train --config=ablations/patch_16x16 --workdir=runs/patch_16x16
         (the paper's own table is of cityscapes: --config.dataset=cityscapes --config.data_dir=DIR)
Recipe:  Isola et al. 2017, table 3; all else as in facades.
Expect:  FCN scores 0.65, 0.21, 0.17 (pixels, classes, IoU) on cityscapes; 70x70 has 0.66, 0.23, 0.17.
Measured: not yet; no GPU has been at hand.
"""

from pix2pix_jax.configs import facades


def get_config():
    config = facades.get_config()
    config.discriminator.num_layers = 1
    return config
