"""Your own pairs: a folder of side-by-side A|B images, of A/ and B/ or trainA/ and trainB/ with images of the same
names, or of arrays (train.npz; A.npy and B.npy); with train, val and test or without.

Command: pix2pix train --config=folder --config.data_dir=DIR --workdir=runs/mine
         (--config.direction=BtoA if the input is B, the right half)
Check:   pix2pix prepare --config=folder --config.data_dir=DIR
Recipe:  that of the paper's facades; for fewer or more than 400 pairs change --config.num_epochs.
"""

from pix2pix_jax.configs import default


def get_config():
    config = default.get_config()
    config.dataset = "folder"
    return config
