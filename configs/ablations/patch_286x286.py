"""A discriminator of 286x286 patches, which is all of the image.

Command: pix2pix train --config=ablations/patch_286x286 --workdir=runs/patch_286x286
         (the paper's own table is of cityscapes: --config.dataset=cityscapes --config.data_dir=DIR)
Recipe:  Isola et al. 2017, table 3; all else as in facades.
Expect:  FCN scores 0.42, 0.16, 0.11 (pixels, classes, IoU) on cityscapes; 70x70 has 0.66, 0.23, 0.17.
Measured: not yet; no GPU has been at hand.
"""

from pix2pix_jax.configs import facades


def get_config():
    config = facades.get_config()
    config.discriminator.num_layers = 5
    return config
