"""Chooses what the page draws with: the palette of label maps, a pencil for edges, or any colour."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from ml_collections import ConfigDict

from pix2pix_jax.config import build_data
from pix2pix_jax.errors import UserError
from pix2pix_jax.evaluation.evaluator import palette_of
from pix2pix_jax.metrics import labels

Colour = tuple[int, int, int]
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
_NEAR = 12  # of 255 in each channel: the noise that JPEG leaves in a plane of one colour
_MOST_COLOURS = 40  # in label maps without a palette
_FREE = {"black": BLACK, "white": WHITE, "red": (214, 40, 40), "green": (60, 140, 60), "blue": (40, 90, 200)}


@dataclasses.dataclass(frozen=True)
class Brushes:
    """Holds the colours to draw with.

    Attributes:
      kind: "labels", where a picture has no other colours than these; "edges", lines on paper; or "photo".
      colours: name -> (red, green, blue), in the order of the page.
      paper: the colour of an empty drawing, and of the eraser.
    """

    kind: Literal["labels", "edges", "photo"]
    colours: dict[str, Colour]
    paper: Colour


def choose(config: ConfigDict, examples: Sequence[np.ndarray], palette: str = "auto") -> Brushes:
    """Chooses the brushes of a model.

    Args:
      config: the run's config.
      examples: some of the model's inputs, uint8 (H, W, 1 or 3) of one size; may be none.
      palette: "auto": that of the data set if it is known, or else by the examples' colours; "none"; or the name or
        file of a palette (`labels.find`).

    Raises:
      UserError: there is no such palette, or it does not fit the examples.
    """
    pixels = _stacked(examples)
    if palette not in ("auto", "none"):
        chosen = labels.find(palette)
        if pixels is not None and (reason := labels.misfit(chosen, pixels)):
            raise UserError(reason)
        return _of_palette(chosen, pixels)
    if palette == "auto" and (chosen := _known(config, pixels)):
        return _of_palette(chosen, pixels)
    if build_data.color_space(config).colorizes:
        return Brushes("photo", _FREE, WHITE)
    if pixels is None:
        return Brushes("edges", *_ink(WHITE)) if _has_edges(config) else Brushes("photo", _FREE, WHITE)
    if paper := _paper(pixels):
        return Brushes("edges", *_ink(paper))
    if palette == "auto" and (colours := _flat_colours(pixels)):
        return Brushes("labels", colours, next(iter(colours.values())))
    return Brushes("photo", _FREE, WHITE)


def _stacked(examples: Sequence[np.ndarray]) -> np.ndarray | None:
    """Returns the examples as uint8 (N, H, W, 3), None if there are none."""
    return np.stack([np.broadcast_to(image, (*image.shape[:2], 3)) for image in examples]) if examples else None


def _known(config: ConfigDict, pixels: np.ndarray | None) -> labels.Palette | None:
    """Returns the palette of the data set, or the one whose colours most of the pixels have."""
    name = palette_of(config, "input")
    if pixels is None or (name != "none" and not labels.misfit(labels.PALETTES[name], pixels)):
        return labels.PALETTES.get(name)
    return next((palette for palette in labels.PALETTES.values() if _share_near(pixels, palette) > 0.6), None)


def _share_near(pixels: np.ndarray, palette: labels.Palette) -> float:
    near = [(abs(pixels.astype(np.int16) - colour) <= _NEAR).all(-1) for colour in palette.colours.values()]
    return float(np.any(near, axis=0).mean())


def _of_palette(palette: labels.Palette, pixels: np.ndarray | None) -> Brushes:
    colours = dict(palette.colours) | ({"unlabelled": palette.void[0]} if palette.void else {})
    if pixels is None:
        return Brushes("labels", colours, next(iter(colours.values())))
    counts = np.bincount(np.asarray(palette.classes(pixels)).ravel(), minlength=len(palette))
    return Brushes("labels", colours, list(palette.colours.values())[int(counts.argmax())])


def _has_edges(config: ConfigDict) -> bool:
    return config.input_channels == 1 or (config.dataset.startswith("edges2") and config.direction == "AtoB")


def _ink(paper: Colour) -> tuple[dict[str, Colour], Colour]:
    return ({"ink": BLACK, "paper": WHITE} if paper == WHITE else {"ink": WHITE, "paper": BLACK}), paper


def _paper(pixels: np.ndarray) -> Colour | None:
    """Returns the ground, white or black, of line drawings; None for other pictures."""
    low, high = pixels.min(-1), pixels.max(-1)
    if (high - low > 2 * _NEAR).mean() > 0.02:
        return None
    paper = WHITE if np.median(high) > 127 else BLACK
    ground = low > 255 - 40 if paper == WHITE else high < 40
    return paper if ground.mean() > 0.6 else None


def _flat_colours(pixels: np.ndarray) -> dict[str, Colour]:
    """Returns the colours of pictures that have few, the most frequent first, under their codes; {} for others."""
    numbers = pixels.astype(np.int32) @ np.int32([65536, 256, 1])
    found, counts = np.unique(numbers, return_counts=True)
    if not 2 <= len(found) <= _MOST_COLOURS:
        return {}
    ordered = found[np.argsort(-counts, kind="stable")]
    return {f"#{n:06x}": (int(n) >> 16, int(n) >> 8 & 255, int(n) & 255) for n in ordered}
