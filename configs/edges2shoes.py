"""Edges -> shoes: 49,825 pairs of Yu and Grauman's UT Zappos50K, edges by HED, as published with pix2pix.

Command: pix2pix train --config=edges2shoes --workdir=runs/shoes
Recipe:  Isola et al. 2017, section 6.2: batch 4, 15 epochs (186,843 steps).
         Whether it jitters and mirrors is not stated; the paper's program does by default.
Expect:  FID 75.8 for pytorch-CycleGAN-and-pix2pix's model (MMGeneration's table; 84.4 retrained).
Measured: not yet; no GPU has been at hand.
"""

from pix2pix_jax.configs import default


def get_config():
    config = default.get_config()
    config.dataset = "edges2shoes"
    config.direction = "AtoB"
    config.batch_size = 4
    config.num_epochs = 15
    return config
