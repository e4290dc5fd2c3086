"""Edges -> handbags: 138,567 pairs of Zhu et al.'s Amazon handbags, edges by HED, as published with pix2pix.

Command: pix2pix train --config=edges2handbags --workdir=runs/handbags
Recipe:  Isola et al. 2017, section 6.2: batch 4, 15 epochs (519,626 steps).
         Whether it jitters and mirrors is not stated; the paper's program does by default.
Measured: not yet; no GPU has been at hand.
"""

from pix2pix_jax.configs import default


def get_config():
    config = default.get_config()
    config.dataset = "edges2handbags"
    config.direction = "AtoB"
    config.batch_size = 4
    config.num_epochs = 15
    return config
