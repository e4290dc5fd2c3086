"""What happens to files."""

import pathlib

import numpy as np


def damage(path: pathlib.Path, rng: np.random.Generator) -> str:
    """Does to a file what disks, copies and kills do; says what."""
    data = bytearray(path.read_bytes())
    kind = rng.choice(["flip", "truncate", "zero", "delete"]) if data else "delete"
    at = int(rng.integers(len(data))) if data else 0
    if kind == "flip":
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == "truncate":
        del data[at:]
    elif kind == "zero":
        data[at : at + 4096] = bytes(len(data[at : at + 4096]))
    path.unlink() if kind == "delete" else path.write_bytes(data)
    return f"{kind} at {at} of {path}"
