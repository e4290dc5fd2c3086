"""Features of target pictures, kept in a file from one evaluation to the next.

A feature is found by the SHA-256 of its picture's pixels, so a picture that has changed is never taken for the old one.
"""

import contextlib
import hashlib
import os
import pathlib

import numpy as np

from pix2pix_jax.runtime import caches

_MOST = 20_000  # pictures, 160 MB: of more than that, features are kept in memory only


class FeatureCache:
    """Features, float32 (D,), by picture, uint8 (H, W, 3)."""

    def __init__(self, path: pathlib.Path | None):
        """path: of the .npz, which need not be there; None: features are kept in memory only."""
        self._path, self._rows, self._new = path, {}, False
        if path is not None and path.is_file():
            self._read(path)

    def _read(self, path: pathlib.Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                digests, features = file["digests"], file["features"]
            if len(digests) == len(features) and features.ndim == 2:
                self._rows = {bytes(d): row for d, row in zip(digests, features.astype(np.float32), strict=True)}
        except Exception:  # zipfile, zlib and numpy raise many types for damaged files
            pass  # it is only a cache: what cannot be read is computed again

    def get(self, pictures: np.ndarray) -> np.ndarray | None:
        """The features (N, D) of pictures (N, H, W, 3), if all are there."""
        rows = [self._rows.get(_digest(picture)) for picture in pictures]
        return None if any(row is None for row in rows) else np.stack(rows)

    def put(self, pictures: np.ndarray, features: np.ndarray) -> None:
        self._rows |= {_digest(picture): row for picture, row in zip(pictures, features, strict=True)}
        self._new = True

    def save(self) -> None:
        """Writes the file, whole, if anything is new; a cache that cannot be written is done without."""
        if self._path is None or not self._new or len(self._rows) > _MOST:
            return
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}.npz")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            digests = np.frombuffer(b"".join(self._rows), np.uint8).reshape(-1, 32)
            np.savez(partial, digests=digests, features=np.stack(list(self._rows.values())))
            partial.replace(self._path)
            self._new = False
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()


def place(*words: str) -> pathlib.Path:
    """The file of the targets that `words` describe: network, resize, set, split; for others there is another file."""
    name = hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]
    return caches.folder("features") / f"{name}.npz"


def _digest(picture: np.ndarray) -> bytes:
    return hashlib.sha256(repr(picture.shape).encode() + np.ascontiguousarray(picture).tobytes()).digest()
