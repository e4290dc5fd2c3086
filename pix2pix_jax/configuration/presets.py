"""Presets: the published systems that a run can follow, and one of our own, as values of config fields.

Every preset sets all the fields in which the systems differ, so a second preset leaves nothing of the first. Fields
that they share, or that belong to a data set, are in `configs/`.
"""

import operator

from ml_collections import ConfigDict

from pix2pix_jax.configs import default

# The paper's program in Lua. It zeroes all biases at every step. Its generator meets the discriminator's old logits,
# whose gradient is taken through the new weights; of the orders that autodiff offers, the simultaneous one is nearest.
_TORCH2017 = {
    "generator.bias": "never",
    "generator.dropout_layers": (1, 2, 3),
    "discriminator.bias": "never",
    "d_loss_scale": 1.0,
    "update_order": "simultaneous",
    "schedule": "constant",
}

# TensorFlow's tutorial, whose unstated values are the defaults of Keras.
_TF_TUTORIAL = {
    "input_interpolation": "nearest",
    "target_interpolation": "nearest",
    "norm_epsilon": 1e-3,
    "norm_momentum": 0.99,
    "norm_scale_std": 0.0,
    "generator.bias": "last",
    "generator.slope": 0.3,
    "generator.dropout_layers": (1, 2, 3),
    "generator.bottleneck_norm": True,
    "generator.decoder_activation": "before_concat",
    "discriminator.bias": "last",
    "discriminator.slope": 0.3,
    "d_loss_scale": 1.0,
    "update_order": "simultaneous",
    "eps": 1e-7,
    "schedule": "constant",
}

# What did better than the published recipe at equal steps and sizes; configs/improved.py has the scores.
_IMPROVED = {
    "gan_loss": "hinge",
    "discriminator.spectral_norm": True,
    "discriminator.vision_aided": True,
    "perceptual_weight": 10.0,
    "diff_augment": ("translation", "cutout"),
    "ema_decay": 0.999,
    "inference.weights": "ema",
}

# The default: pytorch-CycleGAN-and-pix2pix.
_PYTORCH = {field: operator.attrgetter(field)(default.get_config()) for field in _TORCH2017 | _TF_TUTORIAL | _IMPROVED}

PRESETS = {
    "pytorch": _PYTORCH,
    "torch2017": _PYTORCH | _TORCH2017,
    "tf_tutorial": _PYTORCH | _TF_TUTORIAL,
    "improved": _PYTORCH | _IMPROVED,
}


def apply(config: ConfigDict, name: str) -> ConfigDict:
    """Sets the fields of preset `name`, a key of PRESETS, and returns the config."""
    config.update_from_flattened_dict(PRESETS[name] | {"preset": name})
    return config
