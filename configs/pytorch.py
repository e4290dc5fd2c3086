"""Facades, labels -> photo, as pytorch-CycleGAN-and-pix2pix has it: the default of all configs.

Command: pix2pix train --config=pytorch --workdir=runs/pytorch
         (takes a config of another preset back to it: --config=NAME --config.preset=pytorch)
Recipe:  its defaults for pix2pix: 100 epochs of constant and 100 of falling learning rate (80,000 steps).
Expect:  FID 119.1 for its published model (MMGeneration's table; 125.0 retrained).
Measured: not yet; no GPU has been at hand.
"""

from pix2pix_jax.configs import facades

from pix2pix_jax.configuration import presets


def get_config():
    return presets.apply(facades.get_config(), "pytorch")
