"""The networks, as Flax Linen modules. No I/O and no config object: every choice is a field."""

from pix2pix_jax.models.patchgan import MultiScaleDiscriminator, PatchDiscriminator
from pix2pix_jax.models.resnet import ResNetGenerator
from pix2pix_jax.models.unet import UNetGenerator
from pix2pix_jax.models.vision_aided import Backbone, VisionAidedDiscriminator

__all__ = [
    "Backbone",
    "MultiScaleDiscriminator",
    "PatchDiscriminator",
    "ResNetGenerator",
    "UNetGenerator",
    "VisionAidedDiscriminator",
]
