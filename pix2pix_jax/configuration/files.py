"""Reads configs from names, files, command lines and JSON.

`configs/default.py` says what every field means.
"""

import copy
import difflib
import json
import pathlib
import re
import runpy
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from pix2pix_jax.configs import default
from pix2pix_jax.configuration import presets
from pix2pix_jax.configuration.validate import check, flatten
from pix2pix_jax.errors import UserError

# Fields that may change when a run is resumed. They change its length, its place or its logs, but not its steps, except
# for allow_changed_data, by which the user allows that.
MAY_CHANGE = frozenset(
    (
        "preset",  # the fields that it sets are compared one by one
        *("num_epochs", "num_steps", "data_dir", "data_url", "data_residency", "num_workers"),
        *("mesh.data", "mesh.rows", "shard_optimizer"),
        *("inference.norm_stats", "inference.dropout", "inference.weights"),
        *("log_every_steps", "sample_every_steps", "num_samples", "checkpoint_every_steps", "keep_checkpoints"),
        *("eval_every_steps", "eval_metrics", "palette", "best_metric"),
        *("profile_steps", "allow_changed_data"),
    )
)

_REMOVED = frozenset(("on_divergence",))  # fields of earlier versions that do not change what a checkpoint means

_FOLDER = pathlib.Path(default.__file__).parent
_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    tuple: "values with commas between them",
    ConfigDict: "left alone, as it is a group; set its fields, as --config.GROUP.FIELD=VALUE",
}


def load(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Loads and checks a config.

    Args:
      spec: a name in `pix2pix_jax.configs`, such as `facades`, or the path of a Python file with a `get_config()`.
      overrides: flags, such as `--config.batch_size=4`.

    Raises:
      UserError: no such config; an unknown field or a bad value in `overrides`.
    """
    return check(read(spec, overrides))


def read(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Loads a config as `load` does, without checking whether its values go together."""
    config = _read_file(spec)
    overrides = _last_of_each_field(overrides)
    for override in overrides:
        _check_field(override)
    preset = _parse(copy.deepcopy(config), overrides).get("preset")
    if preset in presets.PRESETS and preset != config.get("preset"):
        presets.apply(config, preset)
    return _parse(config, overrides)


def _parse(config: ConfigDict, overrides: Sequence[str]) -> ConfigDict:
    """Returns the config with the values of the overrides."""
    values = flags.FlagValues()
    arguments = ["pix2pix", *overrides]
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=arguments)
        extra = values(arguments)[1:]
    except (flags.Error, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _not_parsed(config, error) from error
    if extra:
        raise UserError(f"{extra[0]}: not a flag; overrides are written --config.FIELD=VALUE")
    return _split_names(values.config)


def _not_parsed(config: ConfigDict, error: Exception) -> UserError:
    """Returns the error, in plain words, of a value of another type than its field's, or of a flag without a value."""
    given = re.match(r"flag --(config\.([\w.]+)=.*?): ", str(error), re.DOTALL)
    if not given:
        return UserError(f"{error}; see configs/default.py for the fields")
    *groups, name = given[2].split(".")
    for group in groups:
        config = config[group]
    kind = config.get_type(name)
    return UserError(f"{given[1]}: must be {_KINDS.get(kind, kind.__name__)}; see configs/default.py for the fields")


def _split_names(config: ConfigDict) -> ConfigDict:
    """Splits rgb,depth into two names, which ml_collections takes for one, and turns 1,2 into names, not numbers."""
    for field in ("a_folders", "b_folders", "eval_metrics"):
        if field in config:
            config[field] = tuple(",".join(map(str, config[field])).split(","))
    return config


def _last_of_each_field(overrides: Sequence[str]) -> list[str]:
    """Drops overrides that a later one replaces; ml_collections would append the elements of tuples."""
    last = {override.split("=")[0]: i for i, override in enumerate(overrides)}
    return [o for i, o in enumerate(overrides) if "=" not in o or last[o.split("=")[0]] == i]


def _read_file(spec: str) -> ConfigDict:
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
            raise UserError(f"--config={spec}: no such file; or give a name: {', '.join(names())}")
        return pathlib.Path(spec)
    if spec not in names():
        longer = [name for name in names() if spec and name.startswith(spec)]  # maps_aerial2map and the other of maps
        near = longer or difflib.get_close_matches(spec, names(), n=1)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names())}"
        raise UserError(f"--config={spec}: no such config; {hint}")
    return _FOLDER / f"{spec}.py"


def names() -> list[str]:
    """Lists the configs that `load` knows by name."""
    files = (*_FOLDER.glob("*.py"), *_FOLDER.glob("ablations/*.py"))
    return sorted(f.relative_to(_FOLDER).with_suffix("").as_posix() for f in files if f.name[0] != "_")


def _check_field(override: str) -> None:
    """Raises UserError if `override` sets a field that does not exist, with a guess among the fields of all groups."""
    if not override.startswith("-") or override[1:2].isdigit():  # the value of the flag before it
        return
    field = re.fullmatch(r"--?(?:no)?config\.([\w.]*)(?:=.*)?", override, re.DOTALL)
    if not field:
        raise UserError(f"{override}: not a flag; overrides are written --config.FIELD=VALUE")
    fields = flatten(default.get_config())
    if any(f"{name}.".startswith(f"{field[1]}.") for name in fields):
        return
    leaves = {name.split(".")[-1]: name for name in fields} | {name: name for name in fields}
    near = difflib.get_close_matches(field[1], leaves, n=1)
    hint = f"did you mean config.{leaves[near[0]]}?" if near else "see configs/default.py for the fields"
    raise UserError(f"config.{field[1]}: no such field; {hint}")


def to_dict(config: ConfigDict) -> dict:
    """Converts a config to plain dictionaries, lists and numbers, for JSON."""
    return json.loads(config.to_json())


def from_dict(values: dict) -> ConfigDict:
    """Inverts `to_dict`, leaving out `unknown_fields`. Raises UserError if a value does not suit its field."""
    config = default.get_config()
    try:
        _assign(config, values)
    except (KeyError, AttributeError, TypeError, ValueError, OverflowError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"config of the checkpoint: {reason}; was it written by another version?") from error
    return check(config)


def unknown_fields(values: dict) -> list[str]:
    """Lists fields in `values`, a result of `to_dict`, that this version lacks and that a run may depend on."""
    known = default.get_config()
    groups = {name: value for name, value in values.items() if isinstance(known.get(name), ConfigDict)}
    names = [name for name in values if name not in known]
    names += [f"{group}.{name}" for group, fields in groups.items() for name in fields if name not in known[group]]
    return sorted(set(names) - _REMOVED)


def _assign(config: ConfigDict, values: dict, place: str = "") -> None:
    """Sets the known fields of a config; raises errors of many types for a bad value."""
    for name, value in values.items():
        if name not in config:
            continue
        if isinstance(config[name], ConfigDict):
            _assign(config[name], value, f"{place}{name}.")
        elif isinstance(value, dict) or (value is None and config[name] is not None):
            raise TypeError(f"{place}{name}: {value}")
        else:
            config[name] = tuple(value) if isinstance(value, list) else value


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """Lists the fields, as `config.NAME: OLD -> NEW`, in which two configs describe different runs."""
    before, after = flatten(old), flatten(new)
    return [
        f"config.{name}: {before[name]} -> {after[name]}"
        for name in before
        if name not in MAY_CHANGE and before[name] not in (after[name], "auto")  # no data has resolved "auto" yet
    ]
