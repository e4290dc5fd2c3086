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
    """Defines the flag `name`, whose value is a copy of the config, and one for each --name.FIELD of `sys_argv`.

    Parsing `sys_argv` then sets the fields. Raises KeyError if there is no such field.
    """
    config = copy.deepcopy(config)
    flags.DEFINE(_Given(), name, config, "", flag_values=flag_values)
    for argument in sys_argv[1:]:
        flag = argument.lstrip("-").split("=")[0]
        if flag.startswith(f"{name}."):
            *groups, field = flag.split(".")[1:]
            owner = config
            for group in groups:
                owner = owner[group]
            flags.DEFINE(_Field(owner, field), flag, None, "", flag_values=flag_values)


class _Given(flags.ArgumentParser):
    """Takes a value as it is."""

    def parse(self, argument: ConfigDict) -> ConfigDict:
        return argument


class _Field(flags.ArgumentParser):
    """Sets a field to a value of the kind of its own; one that is unset, to any."""

    def __init__(self, owner: ConfigDict, field: str):
        self._owner, self._field = owner, field

    def parse(self, argument: str) -> Any:
        before = self._owner[self._field]
        value = argument if isinstance(before, str) else self._literal(argument, before)
        if type(before) in (bool, int, float) and not isinstance(value, type(before)):
            raise ValueError(f"{argument}: must be {type(before).__name__}")
        self._owner[self._field] = value
        return value

    @staticmethod
    def _literal(text: str, before: Any) -> Any:
        try:
            value = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            value = tuple(text.split(",")) if isinstance(before, tuple) else text
        if isinstance(before, tuple) and not isinstance(value, tuple):
            return (value,)
        return float(value) if isinstance(before, float) and type(value) is int else value
