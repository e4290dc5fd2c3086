"""Reads configs from names, files, command lines and JSON.

`configs/default.py` says what every field means.
"""

import copy
import difflib
import inspect
import json
import pathlib
import re
import runpy
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from pix2pix_jax.configs import default
from pix2pix_jax.configuration import near_names, presets
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
        *("log_to", "profile_steps", "allow_changed_data"),
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
      spec: a name in `pix2pix_jax.configs`, such as `facades`, or the path of a Python file with a `get_config()`. With
        FILE.py:ARG that is called as `get_config("ARG")`.
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


def make(spec: str, fields: Mapping[str, Any]) -> ConfigDict:
    """Returns the config `spec` with fields set, where those of a group are a mapping, without checking it.

    Raises:
      UserError: no such config or field, or a value of another type than its field's.
    """
    config = _read_file(spec)
    preset = fields.get("preset")
    if preset in presets.PRESETS and preset != config.get("preset"):
        presets.apply(config, preset)
    _set(config, fields)
    return config


def _set(config: ConfigDict, fields: Mapping[str, Any], place: str = "") -> None:
    for name, value in fields.items():
        field = f"{place}{name}"
        if name not in config:
            raise UserError(f"config.{field}: no such field; {near_names.hint(field)}")
        if isinstance(config[name], ConfigDict):
            if not isinstance(value, Mapping):
                raise UserError(f"config.{field}: {value!r}; is a group of fields; give a dictionary of them")
            _set(config[name], value, f"{field}.")
            continue
        try:
            config[name] = tuple(value) if isinstance(value, list) else value
        except TypeError as error:
            kind = config.get_type(name)
            raise UserError(f"config.{field}: {value!r}; must be {_KINDS.get(kind, 'text')}") from error


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
        return UserError(f"{error}; `pix2pix configs default` lists the fields")
    *groups, name = given[2].split(".")
    for group in groups:
        config = config[group]
    kind = config.get_type(name)
    return UserError(
        f"{given[1]}: must be {_KINDS.get(kind, kind.__name__)}; `pix2pix configs default` lists the fields"
    )


def _split_names(config: ConfigDict) -> ConfigDict:
    """Splits rgb,depth into two names, which ml_collections takes for one, and turns 1,2 into names, not numbers."""
    for field in ("a_folders", "b_folders", "eval_metrics", "diff_augment"):
        if field in config:
            names = ",".join(map(str, config[field]))
            config[field] = tuple(names.split(",")) if names else ()
    return config


def _last_of_each_field(overrides: Sequence[str]) -> list[str]:
    """Drops overrides that a later one replaces; ml_collections would append the elements of tuples."""
    last = {override.split("=")[0]: i for i, override in enumerate(overrides)}
    return [o for i, o in enumerate(overrides) if "=" not in o or last[o.split("=")[0]] == i]


def _read_file(spec: str) -> ConfigDict:
    path, argument = path_of(spec), _argument(spec)
    try:
        get_config = runpy.run_path(str(path))["get_config"]
        parameters = inspect.signature(get_config).parameters.values()
        if (problem := _misfit(list(parameters), argument)) is None:
            config = get_config(*argument)
    except Exception as error:  # the file is the user's program
        raise UserError(f"--config={spec}: cannot be loaded ({_reason(error, path)})") from error
    if problem:
        raise UserError(f"--config={spec}: {problem}")
    if not isinstance(config, ConfigDict):
        raise UserError(f"--config={spec}: its get_config() must return a ConfigDict, as in configs/default.py")
    return config.lock()


def _reason(error: Exception, path: pathlib.Path) -> str:
    """Returns in one line what went wrong in a config file, and where."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f"line {lines[-1]}: " if lines else ""
    if (unknown := re.match(r"""['"]*Key \\?"([\w.]+)\\?" does not exist""", str(error))) is not None:
        return f"{where}no field {unknown[1]}; {near_names.hint(unknown[1])}"
    return f"{where}{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _argument(spec: str) -> tuple[str, ...]:
    """Returns what get_config is called with: nothing, or (ARG,) of NAME:ARG or FILE.py:ARG."""
    _, colon, argument = _split(spec)
    return (argument,) if colon else ()


def _split(spec: str) -> tuple[str, str, str]:
    """Splits FILE.py:ARG or NAME:ARG, as ml_collections has them, into (FILE.py or NAME, ":", ARG)."""
    path, found, argument = spec.rpartition(".py:")
    if found:
        return f"{path}.py", ":", argument
    return (spec, "", "") if spec.endswith(".py") else spec.partition(":")


def _misfit(parameters: Sequence[inspect.Parameter], argument: tuple[str, ...]) -> str | None:
    """Describes why a get_config with `parameters` cannot be called with `argument`; None if it can."""
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    if argument and not positional:
        return f"its get_config() takes no argument; leave :{argument[0]} off"
    if not argument and positional and positional[0].default is positional[0].empty:
        return f"its get_config({positional[0].name}) needs an argument; write --config=FILE.py:ARGUMENT"
    return None


def path_of(spec: str) -> pathlib.Path:
    """Returns the file of a config, given as to `load`. Raises UserError if there is none."""
    name, _, _ = _split(spec)
    if name.endswith(".py"):
        if not pathlib.Path(name).is_file():
            raise UserError(f"--config={spec}: no such file; or give a name: {', '.join(names())}")
        return pathlib.Path(name)
    if name not in names():
        longer = [known for known in names() if name and known.startswith(name)]  # both of maps: maps_aerial2map ...
        near = longer or difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names())}"
        raise UserError(f"--config={spec}: no such config; {hint}")
    return _FOLDER / f"{name}.py"


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
    raise UserError(f"config.{field[1]}: no such field; {near_names.hint(field[1])}")


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
