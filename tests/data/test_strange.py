"""Whole runs on sets that people really have: one pair, black pictures, sides of other sizes, all kinds at once."""

import json

import numpy as np
import pytest
from PIL import Image

from pix2pix_jax.training import train


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    pixels = np.random.default_rng(height + width).integers(0, 256, (height, width, channels), np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


def fill(root, kind: str) -> None:
    if kind == "one pair, fewer than a batch":
        save(root / "train" / "a.png", noise(40, 80))
    elif kind == "black and constant":
        for i, value in enumerate((0, 0, 255)):
            save(root / "train" / f"{i}.png", np.full((36, 72, 3), value, np.uint8))
    elif kind == "pixels":
        for i in range(2):
            save(root / "train" / f"{i}.png", noise(1, 2))
    elif kind == "sides of other sizes":
        for i in range(2):
            save(root / "trainA" / f"{i}.png", noise(40, 50 + i))
            save(root / "trainB" / f"{i}.png", noise(20 + i, 90, 1))
    else:
        picture = Image.fromarray(noise(40, 80))
        sideways = Image.fromarray(noise(80, 40))
        exif = sideways.getexif()
        exif[0x0112] = 6
        save(root / "train" / "sideways.JPG", sideways, exif=exif)
        save(root / "train" / "cmyk.jpg", picture.convert("CMYK"))
        save(root / "train" / "palette.png", picture.convert("P"), transparency=0)
        save(root / "train" / "one bit.png", picture.convert("1"))
        save(root / "train" / "grey alpha.png", picture.convert("LA"))
        save(root / "train" / "日本 ü.avif", picture)
        save(root / "train" / "frames.webp", picture, save_all=True, append_images=[picture.rotate(180)])


@pytest.mark.parametrize(
    "kind", ["one pair, fewer than a batch", "black and constant", "pixels", "sides of other sizes", "all kinds"]
)
def test_a_run_on(tiny_config, tmp_path, kind):
    fill(tmp_path / "data", kind)
    config = tiny_config("--config.dataset=folder", f"--config.data_dir={tmp_path / 'data'}", "--config.num_steps=2")
    train.train(config, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [value for line in lines for value in line.values()]
    assert lines and np.isfinite(losses).all()
