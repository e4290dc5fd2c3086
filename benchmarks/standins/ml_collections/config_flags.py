"""Overrides of a config on a command line."""

import ast
import copy
from collections.abc import Sequence
from typing import Any

from absl import flags

from ml_collections.config_dict import ConfigDict


def DEFINE_config_dict(
    name: str, config: ConfigDict, *, flag_values: flags.FlagValues, sys_argv: Sequence[str]
) -> None:
    """Defines the flag `name`, whose value is the config with what `sys_argv` sets by --name.FIELD=VALUE.

    Raises:
      KeyError: no such field.
      ValueError: a value is missing.
    """
    config = copy.deepcopy(config)
    for argument in sys_argv[1:]:
        flag, _, text = argument.lstrip("-").partition("=")
        if not flag.startswith(f"{name}."):
            continue
        if "=" not in argument:
            raise ValueError(f"--{flag}: without a value; write --{flag}=VALUE")
        *groups, field = flag.split(".")[1:]
        owner = config
        for group in groups:
            owner = owner[group]
        owner[field] = _parse(text, owner[field])
        flags.DEFINE_string(flag, None, "", flag_values=flag_values, allow_override=True)
    flags.DEFINE(_Given(), name, config, "", flag_values=flag_values)


class _Given(flags.ArgumentParser):
    """Takes a value as it is."""

    def parse(self, argument: ConfigDict) -> ConfigDict:
        return argument


def _parse(text: str, before: Any) -> Any:
    """A value of the kind of the one that it replaces; of a field that was not set, of any kind."""
    if isinstance(before, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        value = tuple(text.split(",")) if isinstance(before, tuple) else text
    if isinstance(before, tuple) and not isinstance(value, tuple):
        return (value,)
    return float(value) if isinstance(before, float) else value
