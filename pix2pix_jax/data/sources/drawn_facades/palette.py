"""The colours of a picture's weather and of its buildings."""

from dataclasses import dataclass

import numpy as np

from pix2pix_jax.data.sources.drawn_facades.canvas import Colour
from pix2pix_jax.data.sources.drawn_facades.styles import Style


@dataclass(frozen=True)
class Sky:
    """The colours of the weather: of the sky from top to horizon, its clouds and its light."""

    zenith: Colour
    horizon: Colour
    cloud: Colour
    light: Colour
    lamps: float  # share of windows with a light on


SKIES = (
    Sky((98, 150, 210), (204, 224, 238), (248, 249, 250), (255, 252, 244), 0.0),
    Sky((176, 186, 198), (222, 226, 230), (236, 238, 240), (238, 241, 246), 0.05),
    Sky((104, 116, 166), (250, 200, 158), (244, 196, 172), (242, 216, 206), 0.45),
)
_FRAMES = ((240, 238, 232), (236, 234, 226), (104, 76, 56))
_AWNINGS = ((176, 44, 40), (40, 96, 70), (44, 70, 120), (206, 150, 60))


class Paints:
    """The colours of one building of `style`, under `sky`."""

    def __init__(self, style: Style, sky: Sky, rng: np.random.Generator):
        self.style, self.sky = style, sky
        self.wall = _pick(style.walls, rng, spread=7)
        self.trim = _pick(style.trims, rng, spread=4)
        self.accent = _pick(style.accents, rng, spread=7)
        self.frame = _FRAMES[rng.integers(len(_FRAMES))]
        self.awning = _AWNINGS[rng.integers(len(_AWNINGS))]


def _pick(colours: tuple[Colour, ...], rng: np.random.Generator, *, spread: float) -> Colour:
    """Chooses a colour, makes it a little lighter or darker, and shifts its hue a little."""
    colour = colours[rng.integers(len(colours))]
    change = rng.normal(0, spread) + rng.normal(0, spread / 3, 3)
    return tuple(int(c) for c in np.clip(np.add(colour, change), 0, 255))
