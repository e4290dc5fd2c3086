"""L1 alone: no discriminator is trained.

Command: pix2pix train --config=ablations/l1 --workdir=runs/l1
         (the paper's own table is of cityscapes: --config.dataset=cityscapes --config.data_dir=DIR)
Recipe:  Isola et al. 2017, table 1; all else as in facades.
Expect:  FCN scores 0.42, 0.15, 0.11 (pixels, classes, IoU) on cityscapes; L1 + cGAN has 0.66, 0.23, 0.17.
Measured: not yet; no GPU has been at hand.
"""

from pix2pix_jax.configs import facades


def get_config():
    config = facades.get_config()
    config.gan_weight = 0.0
    return config
