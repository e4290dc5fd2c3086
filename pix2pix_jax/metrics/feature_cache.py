"""Keeps the features of target images in a file, from one evaluation to the next.

The key is the SHA-256 of an image's pixels, so an image that has changed is never taken for the old one.
"""

import contextlib
import hashlib
import io
import pathlib

import numpy as np
from etils import epath

from pix2pix_jax.io import storage
from pix2pix_jax.runtime import caches

_MOST = 20_000  # images, 160 MB: larger sets are kept in memory only


class FeatureCache:
    """Maps images, uint8 (H, W, 3), to their features, float32 (D,)."""

    def __init__(self, path: pathlib.Path | None):
        """Reads the cache in `path`, an .npz that need not exist; with None, features are kept in memory only."""
        self._path, self._rows, self._new = path, {}, False
        if path is None or not path.is_file():
            return
        # Zipfile, zlib and numpy raise many types for damaged files; a cache that cannot be read is computed again.
        with contextlib.suppress(Exception), path.open("rb") as opened:
            file = np.load(opened, allow_pickle=False)
            digests, features = file["digests"], file["features"].astype(np.float32)
            if features.ndim == 2:
                self._rows = {bytes(d): row for d, row in zip(digests, features, strict=True)}

    def get(self, pictures: np.ndarray) -> np.ndarray | None:
        """Returns the features (N, D) of pictures (N, H, W, 3); None unless all are known."""
        rows = [self._rows.get(_digest(picture)) for picture in pictures]
        return None if any(row is None for row in rows) else np.stack(rows)

    def put(self, pictures: np.ndarray, features: np.ndarray) -> None:
        """Adds the features (N, D) of pictures (N, H, W, 3)."""
        self._rows |= {_digest(picture): row for picture, row in zip(pictures, features, strict=True)}
        self._new = True

    def save(self) -> None:
        """Writes the file, whole or not at all, if features were added; a file that cannot be written is no error."""
        if self._path is None or not self._new or len(self._rows) > _MOST:
            return
        file, digests = io.BytesIO(), np.frombuffer(b"".join(self._rows), np.uint8).reshape(-1, 32)
        np.savez(file, digests=digests, features=np.stack(list(self._rows.values())))
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            storage.write(epath.Path(self._path), file.getvalue())
            self._new = False


def place(*cache_key: str) -> pathlib.Path:
    """Returns the path of the cache for a key of strings: network, resize, data set, split and the like."""
    name = hashlib.sha256("\0".join(cache_key).encode()).hexdigest()[:24]
    return caches.folder("features") / f"{name}.npz"


def _digest(picture: np.ndarray) -> bytes:
    return hashlib.sha256(repr(picture.shape).encode() + np.ascontiguousarray(picture).tobytes()).digest()
