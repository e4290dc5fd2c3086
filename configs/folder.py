"""Your own pairs: a folder of side-by-side A|B images, or of train/, val/ and test/ with such images in them.

Command: pix2pix train --config=folder --config.data_dir=DIR --workdir=runs/mine
         (--config.direction=BtoA if the input is the right half)
Recipe:  that of the paper's facades; for fewer or more than 400 pairs change --config.num_epochs.
"""

from pix2pix_jax.configs import default


def get_config():
    config = default.get_config()
    config.dataset = "folder"
    return config
