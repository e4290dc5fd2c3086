"""The errors that a user can mend, and the checks of single values."""

import math
import os
from collections.abc import Collection


class UserError(ValueError):
    """Signals a mistake that the user can mend; the message is one line: what, where, what to do."""


class NoSplit(UserError):
    """Signals that the data are fine, but have no such split."""


def printable(text: os.PathLike | str, limit: int | None = None) -> str:
    """Escapes control codes, line ends and undecodable bytes of a stranger's text; cuts it to `limit` characters."""
    escaped = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in os.fspath(text))
    return escaped if limit is None or len(escaped) <= limit else escaped[:limit] + "..."


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Raises ValueError, whose message begins with the field's name, unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name}: {value!r}; must be one of {', '.join(map(str, choices))}")


def check_bounds(name: str, value: float, least: float, most: float = math.inf, *, below: float | None = None) -> None:
    """Raises ValueError, whose message begins with the field's name, unless least <= value <= most, and < `below`."""
    if not value >= least:
        raise ValueError(f"{name}: {value}; must be at least {least}")
    if not value <= most:
        raise ValueError(f"{name}: {value}; must be at most {most}")
    if below is not None and not value < below:
        raise ValueError(f"{name}: {value}; must be below {below}")
