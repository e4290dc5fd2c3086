"""From a config's name or file and the overrides of a command line to a checked ConfigDict, and to JSON and back.

`configs/default.py` says what every field means.
"""

import difflib
import importlib.resources
import json
import pathlib
import re
import runpy
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from pix2pix_jax.configs import default
from pix2pix_jax.data.sources import DATASETS
from pix2pix_jax.errors import UserError
from pix2pix_jax.losses import GAN_LOSSES
from pix2pix_jax.models.norms import NORMS
from pix2pix_jax.optimizers import SCHEDULES
from pix2pix_jax.steps import NORM_STATS, UPDATE_ORDERS

_CHOICES = {
    "dataset": DATASETS,
    "direction": ("AtoB", "BtoA"),
    "input_channels": (1, 3),
    "target_channels": (1, 3),
    "data_residency": ("auto", "device", "host"),
    "compute_dtype": ("float32", "bfloat16"),
    "generator.name": ("unet",),
    "generator.norm": tuple(NORMS),
    "discriminator.name": ("patchgan",),
    "discriminator.num_layers": (0, 1, 2, 3, 4, 5),
    "discriminator.norm": tuple(NORMS),
    "gan_loss": tuple(GAN_LOSSES),
    "update_order": UPDATE_ORDERS,
    "schedule": SCHEDULES,
    "inference.norm_stats": NORM_STATS,
    "inference.dropout": ("on", "off"),
}
_AT_LEAST = {
    "batch_size": 1,
    "num_epochs": 1,
    "seed": 0,
    "generator.features": 1,
    "generator.num_downs": 0,
    "generator.dropout": 0,
    "discriminator.features": 1,
    "l1_weight": 0,
    "learning_rate": 0,
    "b1": 0,
    "b2": 0,
    "schedule_drop_epochs": 1,
    "log_every_steps": 0,
    "sample_every_steps": 0,
    "num_samples": 1,
    "checkpoint_every_steps": 0,
    "keep_checkpoints": 1,
}
_BELOW_ONE = ("generator.dropout", "b1", "b2")
# A run may go on with other values of these: they change its length, its place or its logs, not its steps.
MAY_CHANGE = frozenset(
    (
        *("num_epochs", "num_steps", "data_dir", "data_residency", "mesh.data", "mesh.rows"),
        *("inference.norm_stats", "inference.dropout", "log_every_steps", "sample_every_steps", "num_samples"),
        *("checkpoint_every_steps", "keep_checkpoints"),
    )
)
MIN_DOWNS, MAX_DOWNS = 2, 10
MIN_SIDE = 16  # SSIM's window takes 11 pixels
MAX_SEED = 2**31 - 1  # an int32


def load(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Loads and checks a config.

    Args:
      spec: a name in `pix2pix_jax.configs`, as `facades`, or the path of a Python file that has `get_config()`.
      overrides: flags, as `--config.batch_size=4`.

    Raises:
      UserError: no such config; an unknown field or a bad value in `overrides`.
    """
    config = _read(spec)
    for override in overrides:
        _check_field(override)
    values = flags.FlagValues()
    arguments = ["pix2pix", *overrides]
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=arguments)
    try:
        extra = values(arguments)[1:]
    except (flags.Error, AttributeError, LookupError, TypeError, ValueError) as error:
        message = str(error).removeprefix("flag ")
        raise UserError(f"{message}; see configs/default.py for the fields") from error
    if extra:
        raise UserError(f"{extra[0]}: not a flag; overrides are written --config.FIELD=VALUE")
    return check(values.config)


def _read(spec: str) -> ConfigDict:
    path = _path(spec)
    try:
        config = runpy.run_path(str(path))["get_config"]()
    except Exception as error:  # the file is the user's program
        reason = f"{type(error).__name__}: {error}".split(" Other fields present")[0].splitlines()[0]
        raise UserError(f"--config={spec}: cannot be loaded ({reason})") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"--config={spec}: its get_config() must return a ConfigDict, as in configs/default.py")
    return config.lock()


def _path(spec: str) -> pathlib.Path:
    if spec.endswith(".py"):
        if not pathlib.Path(spec).is_file():
            raise UserError(f"--config={spec}: no such file; or give a name: {', '.join(_names())}")
        return pathlib.Path(spec)
    if spec not in _names():
        near = difflib.get_close_matches(spec, _names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_names())}"
        raise UserError(f"--config={spec}: no such config; {hint}")
    return pathlib.Path(str(importlib.resources.files("pix2pix_jax.configs"))) / f"{spec}.py"


def _names() -> list[str]:
    folder = importlib.resources.files("pix2pix_jax.configs")
    return sorted(f.name[:-3] for f in folder.iterdir() if f.name.endswith(".py") and f.name[0] != "_")


def _check_field(override: str) -> None:
    """Raises UserError if `override` sets a field that there is not; ml_collections guesses only among siblings."""
    field = re.match(r"--?config\.([\w.]*)", override)
    fields = flatten(default.get_config())
    if not field or any(f"{name}.".startswith(f"{field[1]}.") for name in fields):
        return
    leaves = {name.split(".")[-1]: name for name in fields} | {name: name for name in fields}
    near = difflib.get_close_matches(field[1], leaves, n=1)
    hint = f"did you mean config.{leaves[near[0]]}?" if near else "see configs/default.py for the fields"
    raise UserError(f"config.{field[1]}: no such field; {hint}")


def flatten(config: ConfigDict, prefix: str = "") -> dict[str, object]:
    """{"batch_size": 1, "generator.features": 64, ...}."""
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
    for field, least in _AT_LEAST.items():
        if not flat[field] >= least:
            raise UserError(f"config.{field}: {flat[field]}; must be at least {least}")
    for field in _BELOW_ONE:
        if not flat[field] < 1:
            raise UserError(f"config.{field}: {flat[field]}; must be below 1")
    if flat["seed"] > MAX_SEED:
        raise UserError(f"config.seed: {flat['seed']}; must be at most {MAX_SEED}")
    if config.num_steps is not None and config.num_steps < 1:
        raise UserError(f"config.num_steps: {config.num_steps}; must be at least 1")
    _check_sizes(config)
    return config


def _check_sizes(config: ConfigDict) -> None:
    for field in ("image_size", "resize_size"):
        if len(config[field]) != 2 or any(not isinstance(n, int) or n < 1 for n in config[field]):
            raise UserError(f"config.{field}: {config[field]}; must be (height, width) in pixels")
    height, width = config.image_size
    if config.resize_size[0] < height or config.resize_size[1] < width:
        raise UserError(
            f"config.resize_size: {_times(config.resize_size)} is smaller than config.image_size "
            f"{_times(config.image_size)}, which is cropped from it; set both"
        )
    if min(height, width) < MIN_SIDE:
        raise UserError(f"config.image_size: {_times(config.image_size)}; each side must be at least {MIN_SIDE}")
    num_downs(config)
    layers = config.discriminator.num_layers
    if layers and min(height, width) // 2**layers < 3:
        raise UserError(
            f"config.discriminator.num_layers: {layers} leave nothing of {_times(config.image_size)}; use fewer"
        )


def num_downs(config: ConfigDict) -> int:
    """How often the U-Net halves the image. Raises UserError if it cannot take `image_size`."""
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
    return "x".join(map(str, size))


def to_dict(config: ConfigDict) -> dict:
    """Plain dictionaries, lists and numbers, for JSON."""
    return json.loads(config.to_json())


def from_dict(values: dict) -> ConfigDict:
    """The inverse of `to_dict`. Raises UserError if the values are not those of this version's fields."""
    config = default.get_config()
    try:
        _assign(config, values)
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"config of the checkpoint: {error}; was it written by another version?") from error
    return check(config)


def _assign(config: ConfigDict, values: dict) -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            _assign(config[name], value)
        else:
            config[name] = tuple(value) if isinstance(value, list) else value


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """The fields, `name: old -> new`, in which two configs describe different runs."""
    before, after = flatten(old), flatten(new)
    return [
        f"config.{name}: {before[name]} -> {after[name]}"
        for name in before
        if name not in MAY_CHANGE and before[name] != after[name]
    ]
