"""Checksums of arrays, which show whether a restored checkpoint is what was saved."""

import hashlib
from concurrent import futures
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

_THREADS = 8


def checksums(tree: Any) -> dict[str, str]:
    """Returns the SHA-256 of each array's values, dtype and shape by its path, such as "generator/params/down0/kernel".

    It does not depend on shardings. All processes call this.

    Args:
      tree: a tree of arrays.
    """
    with futures.ThreadPoolExecutor(_THREADS) as pool:  # hashing releases the interpreter's lock
        leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
        found = {_name(path): pool.submit(_digest, _whole(leaf)) for path, leaf in leaves}
        return {name: digest.result() for name, digest in found.items()}


def _name(path: tuple) -> str:
    """Joins a path's names, the same for a TrainState and for nested dictionaries with parts of it."""
    return "/".join(str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in path)


def _whole(x: jax.Array | np.ndarray) -> np.ndarray:
    """Fetches all values of an array, also from other processes."""
    elsewhere = isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated)
    return np.asarray(multihost_utils.process_allgather(x, tiled=True) if elsewhere else x)


def _digest(x: np.ndarray) -> str:
    described = hashlib.sha256(f"{x.dtype.str} {x.shape} ".encode())
    described.update(np.ascontiguousarray(x).data)
    return described.hexdigest()
