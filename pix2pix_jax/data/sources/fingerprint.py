"""Detects changes of a run's training files by their names and sizes, which are quick to ask.

A checkpoint holds the names and sizes, compressed to a few bytes a file. The folder of the files does not count.
"""

import base64
import collections
import zlib

from pix2pix_jax.data.files.listing import first_names
from pix2pix_jax.data.sources.source import Source

_LARGEST = 2**28  # bytes of names and sizes; a checkpoint may be a stranger's, and unpack to any number


def take(source: Source) -> str:
    """Returns the fingerprint of a split, as ASCII text."""
    lines = "".join(f"{size}\t{name}\n" for name, size in zip(source.names, source.sizes(), strict=True))
    return base64.b64encode(zlib.compress(lines.encode("utf-8", "surrogateescape"))).decode()


def changes(before: str, now: str) -> str:
    """Describes the changes between two fingerprints, as "2 added (a, b), 1 removed (c)"; "" if there are none.

    A size that one of them does not know, such as that of an object in a bucket, equals every size.
    """
    try:
        old, new = _unpack(before), _unpack(now)
    except (zlib.error, ValueError):
        return "the list of those files cannot be read"
    kinds = {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "of another size": [name for name in new if name in old and _differ(old[name], new[name])],
    }
    return ", ".join(f"{len(names)} {kind} ({first_names(names)})" for kind, names in kinds.items() if names)


def _unpack(fingerprint: str) -> dict[str, list[str]]:
    """Returns the sizes of the examples by name. Files that differ only in their ending share a name.

    Raises:
      ValueError or zlib.error: it is no fingerprint.
    """
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(base64.b64decode(fingerprint, validate=True), _LARGEST)
    if not unpacker.eof:
        raise ValueError(f"cut short, or more than {_LARGEST} bytes")
    lines = content.decode("utf-8", "surrogateescape").splitlines()
    sizes = collections.defaultdict(list)
    for size, _, name in (line.partition("\t") for line in lines):
        sizes[name].append(size)
    return sizes


def _differ(old: list[str], new: list[str]) -> bool:
    return sorted(old) != sorted(new) and "" not in old + new
