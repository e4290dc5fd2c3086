"""Writes the embedded pairs to files, for benchmarks that are given none."""

import argparse
import pathlib

from PIL import Image

from pix2pix_jax.data.sources.drawn_facades.draw import draw_pair


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data_dir", default="", metavar="FOLDER", help="with train/ of A|B images")
    parser.add_argument("--pairs", type=int, default=400, help="to draw if there is no --data_dir")


def folder(arguments: argparse.Namespace, scratch: str, size: tuple[int, int]) -> str:
    """Returns the folder of pairs that the flags name; without one, draws pairs into `scratch`."""
    return arguments.data_dir or write(f"{scratch}/drawn", size=size, count=arguments.pairs)


def write(folder: str, *, size: tuple[int, int], count: int) -> str:
    """Writes A|B images like those of facades, `count` to train/ and a quarter as many to val/; returns `folder`."""
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
