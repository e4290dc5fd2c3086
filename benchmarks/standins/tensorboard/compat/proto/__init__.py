"""Messages of no bytes."""

import types


class Empty(types.SimpleNamespace):
    """Of any fields."""

    START = 1  # of SessionLog

    def SerializeToString(self) -> bytes:
        return b""
