"""Facades, labels -> photo, as TensorFlow's tutorial has it.

Command: pix2pix train --config=tf_tutorial --workdir=runs/tf_tutorial
         (on other data: --config=NAME --config.preset=tf_tutorial)
Recipe:  the tutorial and Keras' defaults: batch 1, 40,000 steps, both gradients from the old weights, slope 0.3, norm
         at the bottleneck, the decoder's ReLU before the concatenation, constant learning rate.
         Images are resized to 286 px without interpolation.
Measured: not yet; no GPU has been at hand.
"""

from pix2pix_jax.configs import facades

from pix2pix_jax.configuration import presets


def get_config():
    config = facades.get_config()
    config.num_steps = 40_000
    return presets.apply(config, "tf_tutorial")
