"""pix2pix_jax: paired image-to-image translation (Isola et al. 2017) in JAX.

import pix2pix_jax
config = pix2pix_jax.config("facades", batch_size=4)
model = pix2pix_jax.train(config, "runs/facades")  # data=(inputs, targets) trains on your own arrays
model = pix2pix_jax.load("runs/facades")
fake = model.translate(images)  # uint8 (N, H, W, 3), floats in [-1, 1], a PIL image or a path
"""

from etils import epy

from pix2pix_jax.runtime import cpu

__version__ = "0.2.0"

cpu.fuse_outputs()  # before anything compiles

with epy.lazy_api_imports(globals()):  # JAX and Orbax take seconds to import, which --help and mistakes need not
    from pix2pix_jax.api import config, evaluate, train, translate
    from pix2pix_jax.errors import UserError
    from pix2pix_jax.gan.objective import Objective
    from pix2pix_jax.gan.optimizers import make_adam, make_schedule
    from pix2pix_jax.gan.state import NetworkState, Parts, TrainState, create_train_state
    from pix2pix_jax.gan.train_step import StepOptions, make_train_step, make_translate_step
    from pix2pix_jax.inference.trained_model import TrainedModel, load
    from pix2pix_jax.metrics import ms_ssim, psnr, ssim
    from pix2pix_jax.models import MultiScaleDiscriminator, PatchDiscriminator, ResNetGenerator, UNetGenerator
    from pix2pix_jax.training.interruption import Interrupted

__all__ = [
    "Interrupted",
    "MultiScaleDiscriminator",
    "NetworkState",
    "Objective",
    "Parts",
    "PatchDiscriminator",
    "ResNetGenerator",
    "StepOptions",
    "TrainState",
    "TrainedModel",
    "UNetGenerator",
    "UserError",
    "config",
    "create_train_state",
    "evaluate",
    "load",
    "make_adam",
    "make_schedule",
    "make_train_step",
    "make_translate_step",
    "ms_ssim",
    "psnr",
    "ssim",
    "train",
    "translate",
]


def __dir__() -> list[str]:
    """Lists the public names alone, for completion in notebooks."""
    return [*__all__, "__version__"]
