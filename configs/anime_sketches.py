"""Line drawings -> coloured anime: your own pairs of 1024x512 pixels, colour left and sketch right as usually shared.

Command: pix2pix train --config=anime_sketches --config.data_dir=DIR --workdir=runs/anime
         (--config.direction=AtoB if the sketch is the left half)
Recipe:  that of the paper's facades with a known variant of the discriminator, whose convolutions pad by reflection, so
         that white paper has no rim.
Measured: not yet; no GPU has been at hand.
"""

from pix2pix_jax.configs import default


def get_config():
    config = default.get_config()
    config.dataset = "folder"
    config.direction = "BtoA"
    config.discriminator.padding = "reflect"
    return config
