"""Facades, labels -> photo, by a recipe that does better than the published one: preset `improved`.

Command: pix2pix train --config=improved --workdir=runs/improved
         (on other data: --config=NAME --config.preset=improved; downloads the weights of LPIPS' AlexNet once)
Recipe:  the published networks and lengths. Beside L1 and the GAN loss: LPIPS (Zhang et al. 2018) with weight 10. The
         discriminator has a hinge loss and spectral norm (Miyato et al. 2018), and heads that judge what LPIPS'
         AlexNet makes of a picture (vision-aided, Kumari et al. 2022); it sees pairs moved and cut at random
         (DiffAugment, Zhao et al. 2020). Pictures come from a moving average of the generator.
Measured: 128 px, 32 features, 15 epochs, split test, seeds 0 to 2: FID 207, KID 0.141, L1 0.340, where the published
         recipe has 319, 0.324, 0.350; 64 features, 50 epochs, seed 0: 197, 0.124, 0.345 where it has 213, 0.158, 0.351
         (2026-11-29; docs/results.md). Not yet at full size.
"""

from pix2pix_jax.configs import facades

from pix2pix_jax.configuration import presets


def get_config():
    return presets.apply(facades.get_config(), "improved")
