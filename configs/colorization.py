"""Grey photographs -> colour: a folder of photographs, each of which is its own pair.

Command: pix2pix train --config=colorization --config.data_dir=DIR --workdir=runs/colour
         (DIR holds photographs, or train/, val/ and test/ of photographs; translate takes grey or coloured ones)
Recipe:  Isola et al. 2017, section 4.2, in the form of pytorch-CycleGAN-and-pix2pix: the networks see lightness,
         L / 50 - 1, and answer with colour, (a, b) / 110.
Measured: not yet; no GPU has been at hand.
"""

from pix2pix_jax.configs import default


def get_config():
    config = default.get_config()
    config.dataset = "folder"
    config.color_space = "lab"
    return config
