"""Facades, labels -> photo, as the paper's own program in Lua has it.

Command: pix2pix train --config=torch2017 --workdir=runs/torch2017
         (on other data: --config=NAME --config.preset=torch2017)
Recipe:  Isola et al. 2017 and its program: dropout on the three innermost decoder layers, no biases, the sum of the
         discriminator's losses, both gradients from the old weights, constant learning rate; 200 epochs (80,000 steps).
Expect:  about 2 h on a Pascal Titan X for the original.
Measured: not yet; no GPU has been at hand.
"""

from pix2pix_jax.configs import facades

from pix2pix_jax.configuration import presets


def get_config():
    return presets.apply(facades.get_config(), "torch2017")
