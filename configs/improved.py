"""Facades, labels -> photo, by the recipe that beats the published one at equal steps: preset `improved`.

Command: pix2pix train --config=improved --workdir=runs/improved
         (on other data: --config=NAME --config.preset=improved; downloads the weights of LPIPS' AlexNet once)
Recipe:  the published networks and lengths. Beside L1 and the GAN loss: LPIPS (Zhang et al. 2018) with weight 10 and
         feature matching (Wang et al. 2018) with weight 10; hinge loss and spectral norm in the discriminator (Miyato
         et al. 2018); pictures come from a moving average of the generator.
Measured: docs/results.md.
"""

from pix2pix_jax.configs import facades

from pix2pix_jax.config import presets


def get_config():
    return presets.apply(facades.get_config(), "improved")
