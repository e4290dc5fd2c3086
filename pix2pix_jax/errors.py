"""The errors that a user can mend."""

import os


class UserError(ValueError):
    """Signals a mistake that the user can mend; the message is one line: what, where, what to do."""


class NoSplit(UserError):
    """Signals that the data are fine, but have no such split."""


def printable(text: os.PathLike | str, limit: int | None = None) -> str:
    """Escapes control codes, line ends and undecodable bytes of a stranger's text; cuts it to `limit` characters."""
    escaped = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in os.fspath(text))
    return escaped if limit is None or len(escaped) <= limit else escaped[:limit] + "..."
