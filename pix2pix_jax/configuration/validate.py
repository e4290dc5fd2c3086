"""Checks a config; `configs/default.py` says what its fields mean.

A bound stands beside its owner, the class or function that uses the value; `check` makes the networks, the objective,
the optimisers and the step of a config, and names the field in the error of any. What stands here is the bounds of
values that data, inference, training and the mesh use, and fields that must go together.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

from flax import traverse_util
from ml_collections import ConfigDict

from pix2pix_jax.configs import default
from pix2pix_jax.configuration import build_model, presets
from pix2pix_jax.configuration.build_data import num_downs
from pix2pix_jax.data.augment import PHOTOMETRIC
from pix2pix_jax.data.color import COLOR_SPACES
from pix2pix_jax.data.files.high_bit_depth import height_by_width
from pix2pix_jax.data.files.images import INTERPOLATIONS
from pix2pix_jax.data.files.value_range import DTYPES
from pix2pix_jax.data.paired_dataset import PREPROCESS, WINDOWED
from pix2pix_jax.data.sources.datasets import DATASETS
from pix2pix_jax.errors import UserError, check_bounds, check_choice
from pix2pix_jax.gan.train_step import StepOptions, make_translate_step
from pix2pix_jax.metrics.names import METRICS, values_of
from pix2pix_jax.models import ResNetGenerator, UNetGenerator

_CHOICES = {
    "preset": tuple(presets.PRESETS),
    "dataset": DATASETS,
    "direction": ("AtoB", "BtoA"),
    "color_space": tuple(COLOR_SPACES),
    "preprocess": PREPROCESS,
    "data_residency": ("auto", "device", "host"),
    "input_dtype": ("auto", *DTYPES),
    "target_dtype": ("auto", *DTYPES),
    "input_interpolation": tuple(INTERPOLATIONS),
    "target_interpolation": tuple(INTERPOLATIONS),
    "freeze": ("", *build_model.FREEZABLE),
    "inference.dropout": ("on", "off"),
    "inference.weights": ("latest", "ema"),
    "log_to": ("none", "wandb", "trackio"),
    "best_metric": tuple(name for metric in METRICS for name in values_of(metric)),
}
_BOUNDS = {  # (least, most)
    **dict.fromkeys(("input_channels", "target_channels", "batch_size", "mesh.rows"), (1, math.inf)),
    **dict.fromkeys(("num_samples", "keep_checkpoints"), (1, math.inf)),
    **dict.fromkeys(("log_every_steps", "sample_every_steps", "checkpoint_every_steps"), (0, math.inf)),
    **dict.fromkeys(("eval_every_steps", "generator.num_downs", "augment.noise"), (0, math.inf)),
    **dict.fromkeys(("augment.brightness", "augment.contrast", "augment.saturation"), (0, 1)),
    "augment.rotate_degrees": (0, 180),
    "augment.hue": (0, 0.5),
    "augment.blur": (0, 5),  # the kernel, 3 sigma either way, has to fit into the smallest image
    "num_workers": (-1, 256),
}
_LARGEST_INT, _LARGEST_FLOAT = 2**31 - 1, 3.4e38  # JAX's numbers have 32 bits
MOST_PROFILED = 1000  # steps; a trace is kept in memory, and no viewer opens one of millions of events
MIN_SIDE = 16  # pixels; SSIM has a window of 11


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Returns a config as {"batch_size": 1, "generator.features": 64, ...}."""
    return traverse_util.flatten_dict(config.to_dict(), sep=".")


def choices() -> dict[str, tuple[str, ...]]:
    """Returns every field, with the values that it can have if those are a few words."""
    return {name: _CHOICES.get(name, ()) for name in flatten(default.get_config())}


def check(config: ConfigDict) -> ConfigDict:
    """Returns the config if every value can be used. Raises UserError with the field and what would do."""
    flat = flatten(config)
    if missing := flatten(default.get_config()).keys() - flat.keys():
        raise UserError(f"config.{min(missing)}: missing; begin your config from configs/default.py")
    for field, value in flat.items():
        _check_finite(field, value)
    with _naming_fields(config):
        for field, choices in _CHOICES.items():
            check_choice(field, flat[field], choices)
        for field, (least, most) in _BOUNDS.items():
            check_bounds(field, flat[field], least, most)
        check_bounds("augment.scale", config.augment.scale, 0, below=1)
        for metric in config.eval_metrics:
            check_choice("eval_metrics", metric, METRICS)
    if config.data_url and not config.data_url.startswith(("http://", "https://", "file://")):
        raise UserError(f"config.data_url: {config.data_url!r}; must begin with http://, https:// or file://")
    _check_tuples(config)
    _check_by_owners(config)
    _check_networks_fit(config)
    _check_preprocess(config)
    _check_colors(config)
    if config.inference.weights == "ema" and not config.ema_decay:
        raise UserError("config.inference.weights: ema, but ema_decay is 0, so there is no average; use latest")
    if config.freeze and not config.init_from:
        raise UserError(f"config.freeze: {config.freeze}, but init_from is empty, so random layers would stay random")
    _check_shares(config)
    return config


def _check_by_owners(config: ConfigDict) -> None:
    """Makes what uses the values, each of which checks its own."""
    with _naming_fields(config, "discriminator"):
        build_model.build_discriminator(config)
    with _naming_fields(config, "generator"):
        generator = build_model.build_generator(config)
        # The fields of the generator that is not chosen.
        ResNetGenerator(num_blocks=config.generator.num_blocks)
        UNetGenerator(decoder_activation=config.generator.decoder_activation)
    with _naming_fields(config, "inference"):
        make_translate_step(generator, norm_stats=config.inference.norm_stats)
    with _naming_fields(config):
        build_model.build_parts(config, num_examples=1)
        StepOptions(
            seed=config.seed,
            image_size=config.image_size,
            update_order=config.update_order,
            accumulate_steps=config.accumulate_steps,
            diff_augment=tuple(config.diff_augment),
            ema_decay=config.ema_decay,
        )


@contextlib.contextmanager
def _naming_fields(config: ConfigDict, group: str = "") -> Iterator[None]:
    """Turns a ValueError that begins with a field of `group`, or else of the config, into a UserError that names it."""
    try:
        yield
    except ValueError as error:
        of_group = group and str(error).split(":")[0] in config[group]
        raise UserError(f"config.{group}.{error}" if of_group else f"config.{error}") from error


def _check_finite(field: str, value: object) -> None:
    """Raises UserError for a number, or one of a tuple, that a float32 or an int32 cannot hold."""
    for number in value if isinstance(value, tuple | list) else (value,):
        is_float = isinstance(number, float) or (isinstance(number, int) and field.endswith("_range"))
        if is_float and not abs(number) <= _LARGEST_FLOAT:
            raise UserError(f"config.{field}: {str(number)[:20]}; must be a finite number")
        if isinstance(number, int) and not is_float and abs(number) > _LARGEST_INT:
            raise UserError(f"config.{field}: {str(number)[:20]}; must be at most {_LARGEST_INT}")


def _check_tuples(config: ConfigDict) -> None:
    """Raises UserError for a field of several values that has too few or too many of them, or others than it needs."""
    for field in ("a_folders", "b_folders"):
        if not config[field] or not all(str(name) for name in config[field]):
            raise UserError(f"config.{field}: {config[field]}; must be names of folders")
    for field in ("input_range", "target_range"):
        limits = config[field]
        if limits is not None and not (_is_two(limits, int, float) and limits[0] < limits[1]):
            raise UserError(f"config.{field}: {limits}; must be (low, high), two numbers, the lower first")
    for field in ("image_size", "resize_size"):
        if not _is_two(config[field], int) or min(config[field]) < 1:
            raise UserError(f"config.{field}: {config[field]}; must be (height, width) in pixels")
    if min(config.image_size) < MIN_SIDE:
        size = height_by_width(config.image_size)
        raise UserError(f"config.image_size: {size}; each side must be at least {MIN_SIDE}")
    steps = config.profile_steps
    if steps is not None and not (_is_two(steps, int) and 1 <= steps[0] <= steps[1] < steps[0] + MOST_PROFILED):
        raise UserError(
            f"config.profile_steps: {steps}; must be the first and the last of at most {MOST_PROFILED} steps, "
            "as 100,110"
        )


def _is_two(values: Sequence, *types: type) -> bool:
    return len(values) == 2 and all(type(value) in types for value in values)


def _check_colors(config: ConfigDict) -> None:
    """Raises UserError for channels, values or augmentations that do not go with the colour space."""
    for name in ("saturation", "hue"):
        if config.augment[name] and config.input_channels != 3:
            raise UserError(f"config.augment.{name}: needs RGB inputs, not {config.input_channels} channels; use 0")
    if config.color_space != "lab":
        return
    if any(config[f"input_{kind}"] != config[f"target_{kind}"] for kind in ("dtype", "range", "interpolation")):
        raise UserError("config.input_dtype: colourisation has one kind of images; give input and target the same")
    if (config.input_channels, config.target_channels) != (3, 3):
        raise UserError("config.input_channels: colourisation (color_space lab) takes colour images; use 3 and 3")
    if photometric := [name for name in PHOTOMETRIC if config.augment[name]]:
        raise UserError(f"config.augment.{photometric[0]}: colourisation takes its input from the target; use 0")


def _check_networks_fit(config: ConfigDict) -> None:
    """Raises UserError if images of `image_size` cannot pass through both networks."""
    (height, width), size = config.image_size, height_by_width(config.image_size)
    if config.generator.name == "resnet" and (height % 4 or width % 4):
        raise UserError(f"config.image_size: {size}; the ResNet takes multiples of 4")
    downs = num_downs(config)
    if config.generator.name == "unet" and (height % 2**downs or width % 2**downs):
        below = min(height, width).bit_length() - 1
        raise UserError(
            f"config.image_size: the U-Net halves {size} {downs} times, which does not come out even; use a power of "
            f"two such as {2**below} or {2 ** (below + 1)} (config.resize_size scales any image to it), or fewer "
            "config.generator.num_downs"
        )
    layers, scales = config.discriminator.num_layers, config.discriminator.num_scales
    if layers and min(height, width) // 2 ** (layers + scales - 1) < 3:
        raise UserError(
            f"config.discriminator.num_layers: {layers} (num_scales: {scales}) leave nothing of {size}; use fewer"
        )


def _check_preprocess(config: ConfigDict) -> None:
    mode, (height, width), size = config.preprocess, config.image_size, height_by_width(config.image_size)
    too_low = mode == "resize_and_crop" and config.resize_size[0] < height
    if too_low or (mode in ("resize_and_crop", "scale_width_and_crop") and config.resize_size[1] < width):
        raise UserError(
            f"config.resize_size: {height_by_width(config.resize_size)} is smaller than config.image_size {size}, "
            "which is cropped from it; set both"
        )
    if mode in WINDOWED and config.data_residency == "device":
        raise UserError(
            f"config.data_residency: device, but under preprocess {mode} sizes may differ and crops are made on the "
            "host; use auto or host"
        )
    if config.augment.rot90 and height != width:
        raise UserError(f"config.augment.rot90: needs a square config.image_size, not {size}")


def _check_shares(config: ConfigDict) -> None:
    batch, parts, height, rows = config.batch_size, config.accumulate_steps, config.image_size[0], config.mesh.rows
    for number, divisor, problem in (
        (batch, parts, f"accumulate_steps: {parts} parts do not come out even of config.batch_size {batch}"),
        (height, rows, f"mesh.rows: height {height} does not divide into {rows} rows"),
    ):
        if number % divisor:
            fitting = ", ".join(str(n) for n in range(1, min(number, divisor) + 1) if number % n == 0)
            raise UserError(f"config.{problem}; {fitting} would fit")
