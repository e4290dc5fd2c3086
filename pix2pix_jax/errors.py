"""The errors that a user can mend."""

import os


class UserError(ValueError):
    """A mistake the user can mend; the message is one line: what, where, what to do."""


class NoSplit(UserError):
    """The data are fine, but have no such split."""


def printable(path: os.PathLike | str) -> str:
    """A file's name as printable text on one line: line ends, control codes and undecodable bytes are escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in os.fspath(path))
