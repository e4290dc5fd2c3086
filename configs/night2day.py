"""Day -> night: 17,823 pairs of Laffont et al.'s webcams, as published with pix2pix.

Command: pix2pix train --config=night2day --workdir=runs/night
         (look at samples/ first: --config.direction=BtoA if it makes days of nights)
Recipe:  Isola et al. 2017, section 6.2: batch 4, 17 epochs (75,747 steps), jitter from 286 px, mirroring.
Measured: not yet; no GPU has been at hand.
"""

from pix2pix_jax.configs import default


def get_config():
    config = default.get_config()
    config.dataset = "night2day"
    config.direction = "AtoB"
    config.batch_size = 4
    config.num_epochs = 17
    return config
