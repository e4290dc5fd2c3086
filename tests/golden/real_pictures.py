"""The pictures behind real_metrics.json, made from the published facades by integers alone.

Read by make_real_metrics.py and by the heavy test, so it needs only numpy and Pillow. `digest` tells whether another
JPEG decoder gave other pixels.
"""

import hashlib
import pathlib
import zlib

import numpy as np
from PIL import Image

# Facades' classes by number (the published files hold them with JPEG noise within about 10).
PALETTE = np.array(
    [
        (0, 0, 223),  # background
        (0, 48, 255),  # facade
        (0, 128, 255),  # window
        (0, 207, 255),  # door
        (32, 255, 223),  # cornice
        (112, 255, 143),  # sill
        (192, 255, 64),  # balcony
        (255, 239, 0),  # blind
        (255, 159, 0),  # deco
        (255, 80, 0),  # molding
        (255, 0, 0),  # pillar
        (175, 0, 0),  # shop
    ],
    np.int64,
)


def halves(folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Photos and labels, uint8 (n, 256, 256, 3), of the 512x256 files in a folder, in the order of their names."""
    paths = sorted(folder.glob("*.jpg"), key=lambda path: path.name)
    pairs = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    return pairs[:, :, :256], pairs[:, :, 256:]


def blurred(images: np.ndarray) -> np.ndarray:
    """Means of 7x7 pixels, rounded down, beyond whose border the last pixel repeats; then red + 24 and blue - 24."""
    height, width = images.shape[1:3]
    padded = np.pad(images.astype(np.int64), ((0, 0), (3, 3), (3, 3), (0, 0)), mode="edge")
    rows = sum(padded[:, i : i + height] for i in range(7))
    sums = sum(rows[:, :, i : i + width] for i in range(7))
    return np.clip(sums // 49 + np.array([24, 0, -24]), 0, 255).astype(np.uint8)


def posterised(images: np.ndarray) -> np.ndarray:
    """Eight levels: the middle of the 32 values each pixel is among."""
    return (images // 32 * 32 + 16).astype(np.uint8)


def picture_sets(folder: pathlib.Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(pictures, targets), uint8 NHWC, by name, from the folder of facades' 106 test pairs."""
    photos, _ = halves(folder)
    crops = photos[:40, 50:210, 30:230]
    return {"blurred_256x256": (blurred(photos), photos), "posterised_160x200": (posterised(crops), crops)}


def noisy_labels(labels: np.ndarray) -> np.ndarray:
    """Label maps whose squares of 16x16 come from 0 to 15 pixels further left, with noise up to 69 in every value."""
    stream = np.random.RandomState(zlib.crc32(b"real/labels"))
    shifts = stream.randint(0, 16, (len(labels), 16, 16)).repeat(16, 1).repeat(16, 2)
    columns = (np.arange(256) - shifts) % 256
    moved = np.take_along_axis(labels, columns[..., None], 2)
    noise = stream.randint(-69, 70, labels.shape)
    return np.clip(moved.astype(np.int64) + noise, 0, 255).astype(np.uint8)


def classes(images: np.ndarray) -> np.ndarray:
    """Number of the nearest colour of the palette by Euclid's distance, (n, H, W); the first of equals."""
    return np.stack([((x[..., None, :].astype(np.int64) - PALETTE) ** 2).sum(-1).argmin(-1) for x in images])


def digest(images: np.ndarray) -> str:
    """The first 16 digits of the SHA-256 of all pixels."""
    return hashlib.sha256(np.ascontiguousarray(images)).hexdigest()[:16]
