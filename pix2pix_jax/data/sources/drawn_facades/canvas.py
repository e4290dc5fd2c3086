"""A canvas with the few shapes that facades are made of, and the colours in which they are drawn.

Pictures are painted at twice the size and averaged down, which is the cheapest antialiasing. Lengths named in units are
1/128 of the canvas's height, which is a pixel of a 128 pixel picture.
"""

import numpy as np
from PIL import Image, ImageDraw

from pix2pix_jax.data.sources.drawn_facades.plan import Box, Pixels, pixel_box
from pix2pix_jax.data.sources.drawn_facades.styles import Colour

Edges = tuple[float, float, float, float]  # left, top, right, bottom in canvas pixels, before rounding

OVERSAMPLING = 2
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


class Canvas:
    """An RGB image of twice the size (H, W) of the picture."""

    def __init__(self, size: tuple[int, int]):
        self._size = size
        self.height, self.width = (side * OVERSAMPLING for side in size)
        self.unit = self.height / 128
        self.image = Image.new("RGB", (self.width, self.height))
        self.draw = ImageDraw.Draw(self.image, "RGBA")  # on an RGB image: blends by alpha

    def box(self, box: Box) -> Pixels:
        """Returns the canvas pixels of a plan's box, on the same whole pixels of the picture as its label."""
        return tuple(OVERSAMPLING * edge for edge in pixel_box(box, self._size))

    def px(self, units: float) -> int:
        """Converts a length in units to whole canvas pixels, at least one."""
        return max(1, round(units * self.unit))

    def rect(self, box: Edges, colour: Colour, alpha: int = 255, *, round_top: float = 0) -> None:
        """Fills a box, if there is any of it. Its upper corners have the radius `round_top`, in canvas pixels."""
        left, top, right, bottom = map(round, box)
        if left < right and top < bottom:
            radius = min(round_top, (right - left) / 2, bottom - top)
            corners = (radius >= 1, radius >= 1, False, False)
            self.draw.rounded_rectangle((left, top, right - 1, bottom - 1), radius, (*colour, alpha), corners=corners)

    def fade(self, box: Edges, colour: Colour, alpha: int) -> None:
        """Blends `colour` in from the top of the box, weaker towards its bottom."""
        left, top, right, bottom = box
        for share in (0.34, 0.67, 1.0):
            self.rect((left, top, right, top + (bottom - top) * share), colour, alpha // 3)

    def shadow(self, box: Edges, depth: float) -> None:
        """Draws the soft shadow, `depth` units long, of what stands out in `box`. The sun is at the left."""
        left, _, right, bottom = box
        shift = self.px(0.5)
        self.fade((left + shift, bottom, right + shift, bottom + self.px(depth)), BLACK, 130)

    def stripes(self, box: Edges, period: float, share: float, colour: Colour, *, level: bool = False) -> None:
        """Fills the first `share` of every `period` units from the left, or from the top."""
        left, top, right, bottom = map(round, box)
        width, height = right - left, bottom - top
        if width > 0 and height > 0:
            along = np.arange(height)[:, None] if level else np.arange(width)[None]
            line = np.where(along / (period * self.unit) % 1 < share, 255, 0).astype(np.uint8)
            mask = Image.fromarray(line).resize((width, height), Image.Resampling.NEAREST)
            self.image.paste(colour, (left, top, right, bottom), mask)

    def slab(self, box: Edges, colour: Colour) -> None:
        """Draws a projecting strip: light along its upper edge, dark along its lower one."""
        left, top, right, bottom = box
        line = max(1, min(self.px(0.5), (bottom - top) // 3))
        self.rect(box, colour)
        self.rect((left, top, right, top + line), mix(colour, WHITE, 0.5))
        self.rect((left, bottom - line, right, bottom), shade(colour, 0.65))


def shade(colour: Colour, factor: float) -> Colour:
    """Returns the colour in less light, or more."""
    return tuple(min(255, round(channel * factor)) for channel in colour)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Mixes `one` with a `share` of the `other`."""
    return tuple(round(a * (1 - share) + b * share) for a, b in zip(one, other, strict=True))
