"""Checksums of a checkpoint's parts, which show whether a restored one is what was saved."""

import hashlib
import json
from concurrent import futures
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

_THREADS = 8


def checksums(tree: Any) -> dict[str, str]:
    """Returns the SHA-256 of each array's values, dtype and shape by its path, such as "generator/params/down0/kernel".

    It does not depend on shardings, and is the same for a TrainState as for nested dictionaries with parts of it. All
    processes call this.
    """
    with futures.ThreadPoolExecutor(_THREADS) as pool:  # hashing releases the interpreter's lock
        leaves = jax.tree.leaves_with_path(tree)
        digests = [pool.submit(_digest, _whole(leaf)) for _, leaf in leaves]
        names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
        return {name: digest.result() for name, digest in zip(names, digests, strict=True)}


def json_checksum(value: Any) -> str:
    """Returns the SHA-256 of a value's JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _whole(x: jax.Array | np.ndarray) -> np.ndarray:
    """Fetches all values of an array, also from other processes."""
    elsewhere = isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated)
    return np.asarray(multihost_utils.process_allgather(x, tiled=True) if elsewhere else x)


def _digest(x: np.ndarray) -> str:
    described = hashlib.sha256(f"{x.dtype.str} {x.shape} ".encode())
    described.update(np.ascontiguousarray(x).data)
    return described.hexdigest()
