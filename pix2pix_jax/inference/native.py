"""Chooses how a picture goes through the generator at another size than the model's: in one pass or in tiles."""

import itertools
from collections.abc import Iterator
from typing import Literal

import jax
import numpy as np

from pix2pix_jax.errors import UserError
from pix2pix_jax.inference.tiles import Picture, Tiling, bucket, in_one_pass, padded_size
from pix2pix_jax.inference.window_programs import WindowPrograms
from pix2pix_jax.runtime import console, meshes

Size = Literal["model", "native"] | tuple[int, int]  # (H, W)
Tile = Literal["auto", "off"] | int

_LARGEST = 2048  # side of a tile that is chosen here; larger ones waste hardly less at their edges


def parse_size(text: str) -> Size:
    """Reads model, native or HxW. Raises UserError for anything else."""
    if text in ("model", "native"):
        return text
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise UserError(f"--size={text}: must be model, native, or height x width in pixels, such as 512x768")
    return int(height), int(width)


def parse_tile(text: str) -> Tile:
    """Reads auto, off or a number. Raises UserError for anything else."""
    if text in ("auto", "off"):
        return text
    if not (text.isdecimal() and int(text)):
        raise UserError(f"--tile={text}: must be auto, off, or the side of a tile in pixels, such as 1024")
    return int(text)


def check(size: Size, tile: Tile) -> None:
    """Raises ValueError for what is neither a size nor a tile."""
    named, number = size in ("model", "native"), isinstance(tile, int) and tile > 0
    if not named and not (isinstance(size, tuple) and len(size) == 2 and all(type(n) is int and n > 0 for n in size)):
        raise ValueError(f'size {size!r}: must be "model", "native" or (height, width)')
    if tile not in ("auto", "off") and not number:
        raise ValueError(f'tile {tile!r}: must be "auto", "off" or a number of pixels')


def bands(programs: WindowPrograms, picture: Picture, key: jax.Array, tile: Tile = "auto") -> Iterator[np.ndarray]:
    """Translates a picture at its own size.

    Args:
      programs: the generator.
      picture: the picture.
      key: draws dropout.
      tile: side of the tiles in pixels; "off" takes the picture in one pass; "auto" cuts it where one pass would take
        more than half of the free memory, and into smaller tiles where it runs out of memory all the same.

    Returns:
      The translation from the top down, in parts (h, W, D) as stored.

    Raises:
      UserError: the tile is smaller than the generator allows, or the memory does not suffice.
    """
    size = padded_size(picture, programs.multiple)
    depth = _depth(programs, size)  # once: the free memory may change
    for side in _sides(programs, size, depth, tile):
        parts = _translate(programs, picture, key, side, depth)
        try:
            first = next(parts)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            console.log(f"note: out of memory {f'in tiles of {side} pixels' if side else 'in one pass'}")
            continue
        return itertools.chain([first], parts)
    raise UserError(f"--tile={tile}: the memory does not suffice; use a smaller tile, or a device with more memory")


def _sides(programs: WindowPrograms, size: tuple[int, int], depth: int, tile: Tile) -> list[int]:
    """Lists the sides of tiles to try for a padded picture of `size`, the best first; 0 is one pass."""
    unit = _unit(depth)
    least = max(programs.multiple, 2 * programs.context(depth) + unit)  # of which a unit is kept
    height, width = size = bucket(size, programs.multiple)
    if tile == "off":
        return [0]
    if tile != "auto":
        if tile < least:
            raise UserError(f"--tile={tile}: too small for this generator; use {least} or more")
        return [0] if tile >= max(height, width) else [tile // unit * unit]
    budget = meshes.free_memory() // 2
    largest = min(_LARGEST, _power_of_two(max(height, width)))
    halves = [side for side in (largest >> i for i in range(12)) if side >= least]
    fitting = [side for side in halves if programs.whole_bytes((side, side)) <= budget] or [least]
    return [0, *fitting] if programs.whole_bytes(size) <= budget else fitting


def _translate(
    programs: WindowPrograms, picture: Picture, key: jax.Array, side: int, depth: int
) -> Iterator[np.ndarray]:
    if not side:
        yield in_one_pass(programs, picture, key)
        return
    tiling = Tiling(programs, picture, key, side=side, depth=depth)
    with console.bar(total=tiling.num_tiles, unit="tile", leave=False) as progress:
        yield from tiling.bands(progress.update)


def _depth(programs: WindowPrograms, size: tuple[int, int]) -> int:
    """Returns the depth from which on the inner layers fit into memory; else the last one there is."""
    budget = meshes.free_memory() // 2
    *depths, last = programs.depths
    return next((depth for depth in depths if programs.inner_bytes(size, depth) <= budget), last)


def _unit(depth: int) -> int:
    """Returns the number of which sides of tiles are multiples: 4 for a ResNet without inner layers."""
    return max(2**depth, 4)


def _power_of_two(side: int) -> int:
    return 1 << (side - 1).bit_length()
