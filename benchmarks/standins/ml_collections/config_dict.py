"""A config whose fields are attributes."""

import contextlib
import json
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any


class ConfigDict(MutableMapping):
    """Fields by attribute and by key; `lock` refuses fields that there are not."""

    def __init__(self, values: Mapping[str, Any] | None = None):
        object.__setattr__(self, "_fields", {})
        object.__setattr__(self, "_locked", False)
        for name, value in (values or {}).items():
            self[name] = ConfigDict(value) if type(value) is dict else value

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if self._locked and name not in self._fields:
            raise KeyError(f"{name}: no such field")
        self._fields[name] = value

    def __delitem__(self, name: str) -> None:
        del self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copy and pickle look for
            raise AttributeError(name)
        try:
            return self._fields[name]
        except KeyError:
            raise AttributeError(f"{name}: no such field") from None

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            self[name] = value
        except KeyError as error:
            raise AttributeError(*error.args) from None

    def __deepcopy__(self, memo: dict) -> "ConfigDict":
        copied = ConfigDict(self.to_dict())
        return copied.lock() if self._locked else copied

    def __reduce__(self):
        return ConfigDict, (self.to_dict(),)

    def __repr__(self) -> str:
        return repr(self.to_dict())

    def lock(self) -> "ConfigDict":
        self._set_locked(True)
        return self

    @contextlib.contextmanager
    def unlocked(self) -> Iterator["ConfigDict"]:
        self._set_locked(False)
        try:
            yield self
        finally:
            self._set_locked(True)

    def _set_locked(self, locked: bool) -> None:
        object.__setattr__(self, "_locked", locked)
        for value in self.values():
            if isinstance(value, ConfigDict):
                value._set_locked(locked)

    def to_dict(self) -> dict[str, Any]:
        return {name: value.to_dict() if isinstance(value, ConfigDict) else value for name, value in self.items()}

    def to_json(self) -> str:
        return json.dumps(self.to_dict())


def placeholder(field_type: type) -> None:
    """The value of a field that is not set; of which type it will be is not kept."""
    return None
