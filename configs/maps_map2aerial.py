"""Maps, map -> aerial photograph: 1,096 pairs around New York, from Google Maps, as published with pix2pix.

Command: pix2pix train --config=maps_map2aerial --workdir=runs/map2aerial
Recipe:  Isola et al. 2017, section 6.2: batch 1, 200 epochs (219,200 steps), jitter from 286 px, mirroring.
Expect:  FID 102.1 for pytorch-CycleGAN-and-pix2pix's model (MMGeneration's table; 88.5 retrained).
Measured: not yet; no GPU has been at hand.
"""

from pix2pix_jax.configs import default


def get_config():
    config = default.get_config()
    config.dataset = "maps"
    config.direction = "BtoA"
    return config
