"""Checks a config: each field by itself, and fields that must go together; `configs/default.py` says what they mean.

The objective checks its own fields (`gan.objective`). Names that a field may have are listed where they are used.
"""

import math
from collections.abc import Sequence

from ml_collections import ConfigDict

from pix2pix_jax.config import presets
from pix2pix_jax.configs import default
from pix2pix_jax.data.augment import PHOTOMETRIC
from pix2pix_jax.data.files.high_bit_depth import height_by_width
from pix2pix_jax.data.files.images import INTERPOLATIONS
from pix2pix_jax.data.files.value_range import DTYPES
from pix2pix_jax.data.paired_dataset import PREPROCESS, WINDOWED
from pix2pix_jax.data.sources.datasets import DATASETS
from pix2pix_jax.errors import UserError
from pix2pix_jax.gan.objective import Objective
from pix2pix_jax.gan.optimizers import SCHEDULES
from pix2pix_jax.gan.train_step import NORM_STATS, UPDATE_ORDERS
from pix2pix_jax.metrics.names import METRICS, values_of
from pix2pix_jax.models.convolutions.layers import PADDINGS
from pix2pix_jax.models.network import BIASES
from pix2pix_jax.models.norms import NORMS
from pix2pix_jax.models.unet import DECODER_ACTIVATIONS

_CHOICES = {
    "preset": tuple(presets.PRESETS),
    "dataset": DATASETS,
    "direction": ("AtoB", "BtoA"),
    "color_space": ("rgb", "lab"),
    "preprocess": PREPROCESS,
    "data_residency": ("auto", "device", "host"),
    "input_dtype": ("auto", *DTYPES),
    "target_dtype": ("auto", *DTYPES),
    "input_interpolation": tuple(INTERPOLATIONS),
    "target_interpolation": tuple(INTERPOLATIONS),
    "compute_dtype": ("float32", "bfloat16"),
    "generator.name": ("unet", "resnet"),
    "generator.norm": NORMS,
    "generator.bias": BIASES,
    "generator.decoder_activation": DECODER_ACTIVATIONS,
    "discriminator.name": ("patchgan",),
    "discriminator.num_layers": (0, 1, 2, 3, 4, 5),
    "discriminator.norm": NORMS,
    "discriminator.bias": BIASES,
    "discriminator.padding": PADDINGS,
    "update_order": UPDATE_ORDERS,
    "schedule": SCHEDULES,
    "inference.norm_stats": NORM_STATS,
    "inference.dropout": ("on", "off"),
    "inference.weights": ("latest", "ema"),
    "best_metric": tuple(name for metric in METRICS for name in values_of(metric)),
}
_AT_LEAST = {
    "input_channels": 1,
    "target_channels": 1,
    "batch_size": 1,
    "accumulate_steps": 1,
    "num_epochs": 1,
    "seed": 0,
    "num_workers": -1,
    "augment.rotate_degrees": 0,
    "augment.scale": 0,
    **dict.fromkeys((f"augment.{name}" for name in PHOTOMETRIC), 0),
    "generator.features": 1,
    "generator.num_downs": 0,
    "generator.dropout": 0,
    "generator.num_blocks": 1,
    "generator.slope": 0,
    "discriminator.features": 1,
    "discriminator.slope": 0,
    "discriminator.num_scales": 1,
    "norm_momentum": 0,
    "norm_scale_std": 0,
    "learning_rate": 0,
    "b1": 0,
    "b2": 0,
    "ema_decay": 0,
    "schedule_drop_epochs": 1,
    "mesh.rows": 1,
    "log_every_steps": 0,
    "sample_every_steps": 0,
    "num_samples": 1,
    "checkpoint_every_steps": 0,
    "keep_checkpoints": 1,
    "eval_every_steps": 0,
}
_ABOVE_ZERO = ("norm_epsilon", "eps")  # prevents 0 / 0, for constant images and for gradients of 0
_AT_MOST = {
    "num_workers": 256,
    "generator.num_blocks": 64,  # 9 are published; each is traced and compiled
    "augment.rotate_degrees": 180,
    "augment.brightness": 1,
    "augment.contrast": 1,
    "augment.saturation": 1,
    "augment.hue": 0.5,
    "augment.blur": 5,  # the kernel, 3 sigma either way, has to fit into the smallest image
}
_BELOW_ONE = ("augment.scale", "generator.dropout", "b1", "b2", "norm_momentum", "ema_decay")
_LARGEST_INT, _LARGEST_FLOAT = 2**31 - 1, 3.4e38  # JAX's numbers have 32 bits
MIN_DOWNS, MAX_DOWNS = 2, 10
MOST_PROFILED = 1000  # steps; a trace is kept in memory, and no viewer opens one of millions of events
MIN_SIDE = 16  # pixels; SSIM has a window of 11


def flatten(config: ConfigDict, prefix: str = "") -> dict[str, object]:
    """Returns a config as {"batch_size": 1, "generator.features": 64, ...}."""
    flat = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def check(config: ConfigDict) -> ConfigDict:
    """Returns the config if every value can be used. Raises UserError with the field and what would do."""
    flat = flatten(config)
    missing = flatten(default.get_config()).keys() - flat.keys()
    if missing:
        raise UserError(f"config.{min(missing)}: missing; begin your config from configs/default.py")
    for field, choices in _CHOICES.items():
        if flat[field] not in choices:
            raise UserError(f"config.{field}: {flat[field]!r}; must be one of {', '.join(map(str, choices))}")
    for field, value in flat.items():
        _check_finite(field, value)
    for field, least in _AT_LEAST.items():
        if not flat[field] >= least:
            raise UserError(f"config.{field}: {flat[field]}; must be at least {least}")
    for field in _ABOVE_ZERO:
        if not flat[field] > 0:
            raise UserError(f"config.{field}: {flat[field]}; must be above 0, as {default.get_config()[field]}")
    for field in _BELOW_ONE:
        if not flat[field] < 1:
            raise UserError(f"config.{field}: {flat[field]}; must be below 1")
    for field, most in _AT_MOST.items():
        if not flat[field] <= most:
            raise UserError(f"config.{field}: {flat[field]}; must be at most {most}")
    if config.num_steps is not None and config.num_steps < 1:
        raise UserError(f"config.num_steps: {config.num_steps}; must be at least 1")
    if config.profile_steps is not None and not _is_stretch(config.profile_steps):
        raise UserError(
            f"config.profile_steps: {config.profile_steps}; must be the first and the last of at most {MOST_PROFILED} "
            "steps, as 100,110"
        )
    if config.data_url and not config.data_url.startswith(("http://", "https://", "file://")):
        raise UserError(f"config.data_url: {config.data_url!r}; must begin with http://, https:// or file://")
    for metric in config.eval_metrics:
        if metric not in METRICS:
            raise UserError(f"config.eval_metrics: {metric!r}; must be of {', '.join(METRICS)}")
    _check_streams(config)
    _check_sizes(config)
    _check_preprocess(config)
    _check_augmentation(config)
    _check_losses(config)
    _check_inference(config)
    _check_shares(config)
    return config


def _check_finite(field: str, value: object) -> None:
    """Raises UserError for a number, or one of a tuple, that a float32 or an int32 cannot hold."""
    for number in value if isinstance(value, tuple | list) else (value,):
        is_float = isinstance(number, float) or (isinstance(number, int) and field.endswith("_range"))
        if is_float and not abs(number) <= _LARGEST_FLOAT:
            raise UserError(f"config.{field}: {str(number)[:20]}; must be a finite number")
        if isinstance(number, int) and not is_float and abs(number) > _LARGEST_INT:
            raise UserError(f"config.{field}: {str(number)[:20]}; must be at most {_LARGEST_INT}")


def _is_stretch(steps: Sequence) -> bool:
    if len(steps) != 2 or not all(type(step) is int for step in steps):
        return False
    return 1 <= steps[0] <= steps[1] < steps[0] + MOST_PROFILED


def _check_streams(config: ConfigDict) -> None:
    for field in ("a_folders", "b_folders"):
        if not config[field] or not all(str(name) for name in config[field]):
            raise UserError(f"config.{field}: {config[field]}; must be names of folders")
    for field in ("input_range", "target_range"):
        if config[field] is not None and not _is_range(config[field]):
            raise UserError(f"config.{field}: {config[field]}; must be (low, high), two numbers, the lower first")
    of_input = (config.input_dtype, config.input_range, config.input_interpolation)
    of_target = (config.target_dtype, config.target_range, config.target_interpolation)
    if config.color_space == "lab" and of_input != of_target:
        raise UserError("config.input_dtype: colourisation has one kind of images; give input and target the same")
    if config.color_space == "lab" and (config.input_channels, config.target_channels) != (3, 3):
        raise UserError("config.input_channels: colourisation (color_space lab) takes colour images; use 3 and 3")


def _is_range(limits: Sequence) -> bool:
    numbers = all(type(n) in (int, float) and math.isfinite(n) for n in limits)
    return len(limits) == 2 and numbers and limits[0] < limits[1]


def _check_sizes(config: ConfigDict) -> None:
    for field in ("image_size", "resize_size"):
        if len(config[field]) != 2 or any(type(n) is not int or n < 1 for n in config[field]):
            raise UserError(f"config.{field}: {config[field]}; must be (height, width) in pixels")
    height, width = config.image_size
    if min(height, width) < MIN_SIDE:
        raise UserError(f"config.image_size: {_times(config.image_size)}; each side must be at least {MIN_SIDE}")
    if config.generator.name == "unet":
        _check_unet(config)
    elif height % 4 or width % 4:
        raise UserError(f"config.image_size: {_times(config.image_size)}; the ResNet takes multiples of 4")
    layers, scales = config.discriminator.num_layers, config.discriminator.num_scales
    if layers and min(height, width) // 2 ** (layers + scales - 1) < 3:
        raise UserError(
            f"config.discriminator.num_layers: {layers} (num_scales: {scales}) leave nothing of "
            f"{_times(config.image_size)}; use fewer"
        )


def _check_preprocess(config: ConfigDict) -> None:
    mode, (height, width) = config.preprocess, config.image_size
    too_low = mode == "resize_and_crop" and config.resize_size[0] < height
    if too_low or (mode in ("resize_and_crop", "scale_width_and_crop") and config.resize_size[1] < width):
        raise UserError(
            f"config.resize_size: {_times(config.resize_size)} is smaller than config.image_size "
            f"{_times(config.image_size)}, which is cropped from it; set both"
        )
    if mode in WINDOWED and config.data_residency == "device":
        raise UserError(
            f"config.data_residency: device, but under preprocess {mode} sizes may differ and crops are made on the "
            "host; use auto or host"
        )


def _check_augmentation(config: ConfigDict) -> None:
    if config.augment.rot90 and config.image_size[0] != config.image_size[1]:
        raise UserError(f"config.augment.rot90: needs a square config.image_size, not {_times(config.image_size)}")
    photometric = [name for name in PHOTOMETRIC if config.augment[name]]
    if photometric and config.color_space == "lab":
        raise UserError(f"config.augment.{photometric[0]}: colourisation takes its input from the target; use 0")
    for name in ("saturation", "hue"):
        if config.augment[name] and config.input_channels != 3:
            raise UserError(f"config.augment.{name}: needs RGB inputs, not {config.input_channels} channels; use 0")


def _check_unet(config: ConfigDict) -> None:
    layers = config.generator.dropout_layers
    downs = num_downs(config)
    if layers is not None and not all(type(n) is int and 1 <= n < downs for n in layers):
        raise UserError(f"config.generator.dropout_layers: {layers}; must be decoder layers from 1 to {downs - 1}")


def _check_losses(config: ConfigDict) -> None:
    try:
        Objective.from_config(config)
    except ValueError as error:  # it begins with the field
        raise UserError(f"config.{error}") from error


def _check_inference(config: ConfigDict) -> None:
    if config.inference.weights == "ema" and not config.ema_decay:
        raise UserError("config.inference.weights: ema, but ema_decay is 0, so there is no average; use latest")


def _check_shares(config: ConfigDict) -> None:
    parts, rows, height = config.accumulate_steps, config.mesh.rows, config.image_size[0]
    if config.batch_size % parts:
        raise UserError(
            f"config.accumulate_steps: {parts} parts do not come out even of config.batch_size {config.batch_size}; "
            f"{_divisors(config.batch_size, parts)} would fit"
        )
    if height % rows:
        raise UserError(
            f"config.mesh.rows: height {height} does not divide into {rows} rows; {_divisors(height, rows)} would fit"
        )


def _divisors(number: int, most: int) -> str:
    return ", ".join(str(n) for n in range(1, min(number, most) + 1) if number % n == 0)


def size_multiple(config: ConfigDict) -> int:
    """Returns the number of which both sides of the generator's images must be multiples."""
    return 2 ** num_downs(config) if config.generator.name == "unet" else 4


def num_downs(config: ConfigDict) -> int:
    """Returns how often the U-Net halves the image. Raises UserError if it cannot take `image_size`."""
    height, width = config.image_size
    downs = config.generator.num_downs or min(height, width).bit_length() - 1
    if not MIN_DOWNS <= downs <= MAX_DOWNS:
        raise UserError(
            f"config.generator.num_downs: {downs} for {_times(config.image_size)}; "
            f"must be from {MIN_DOWNS} to {MAX_DOWNS}"
        )
    if height % 2**downs or width % 2**downs:
        below = min(height, width).bit_length() - 1
        raise UserError(
            f"config.image_size: the U-Net halves {_times(config.image_size)} {downs} times, which does not come out "
            f"even; use a power of two such as {2**below} or {2 ** (below + 1)} (config.resize_size scales any image "
            "to it), or fewer config.generator.num_downs"
        )
    return downs


def _times(size: Sequence[int]) -> str:
    return height_by_width(tuple(size))
