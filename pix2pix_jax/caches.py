"""Where the program keeps what it could make or fetch again, for all runs of a user."""

import os
import pathlib


def folder(kind: str) -> pathlib.Path:
    """`$XDG_CACHE_HOME/pix2pix_jax/KIND`, by default below `~/.cache`. It need not be there."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(home) / "pix2pix_jax" / kind


def is_writable(path: pathlib.Path) -> bool:
    """Whether files can be put into a folder, which is made if need be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(path, os.W_OK)
