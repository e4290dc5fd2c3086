"""The embedded pairs as files, for benchmarks that have no others to read."""

import pathlib

from PIL import Image

from pix2pix_jax.data.sources.drawn_facades.draw import draw_pair


def write(folder: str, *, size: tuple[int, int], count: int) -> str:
    """A|B pictures as of the published facades, `count` in train/ and a quarter as many in val/; returns `folder`."""
    for split, first, number in (("train", 0, count), ("val", 1_000_000, max(1, count // 4))):
        place = pathlib.Path(folder) / split
        place.mkdir(parents=True)
        for index in range(number):
            photo, labels = map(Image.fromarray, draw_pair(0, first + index, tuple(size)))
            pair = Image.new("RGB", (2 * size[1], size[0]))
            pair.paste(photo, (0, 0))
            pair.paste(labels, (size[1], 0))
            pair.save(place / f"{index:03d}.jpg", quality=95)
    return folder
