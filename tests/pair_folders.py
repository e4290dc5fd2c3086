"""Makes folders of tiny pairs in any layout, and opens them."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from pix2pix_jax.data.sources.datasets import open_source
from pix2pix_jax.errors import UserError


def save(path, value: int, size=(6, 8), channels: int = 3):
    """An image that is `value` all over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((*size, channels), value, np.uint8)
    if path.suffix == ".tif":
        tifffile.imwrite(path, image.squeeze().astype(np.uint16))
    elif path.suffix == ".npy":
        np.save(path, image)
    else:
        with path.open("wb") as file:  # whatever its name, a PNG: JPEG would change the values
            Image.fromarray(image.squeeze()).save(file, "PNG")


def fill(root, pattern: str, count: int = 4, a="png", b="png"):
    """Pairs 0, 1, ... of which A is 2 i and B 2 i + 1 all over, in the folders of `pattern`."""
    for i in range(count):
        save(root / pattern.format("A") / f"{i}.{a}", 2 * i)
        save(root / pattern.format("B") / f"{i}.{b}", 2 * i + 1)
    return root


def open_folder(folder, split="train", **options):
    return open_source("folder", split, data_dir=str(folder), size=(6, 8), seed=0, **options)


def values(source) -> list[tuple[int, int]]:
    pairs = (source.pair(i, (3, 3)) for i in range(len(source.names)))
    return [(int(a.max()), int(b.max())) for a, b in pairs]


def refusal(folder, split="train", **options) -> str:
    with pytest.raises(UserError) as caught:
        open_folder(folder, split, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
