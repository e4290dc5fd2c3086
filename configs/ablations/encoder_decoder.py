"""A generator without skip connections.

Command: pix2pix train --config=ablations/encoder_decoder --workdir=runs/encoder_decoder
         (the paper's own table is of cityscapes: --config.dataset=cityscapes --config.data_dir=DIR)
Recipe:  Isola et al. 2017, table 2; all else as in facades. The table is of batch size 10.
Expect:  FCN scores 0.29, 0.09, 0.05 (pixels, classes, IoU) on cityscapes; the U-Net has 0.55, 0.20, 0.14 at batch 10.
Measured: not yet; no GPU has been at hand.
"""

from pix2pix_jax.configs import facades


def get_config():
    config = facades.get_config()
    config.generator.skips = False
    config.batch_size = 10
    return config
