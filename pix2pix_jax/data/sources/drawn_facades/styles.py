"""The four styles of building, how each is put together, and the colours of buildings and of the weather.

Materials go with habits (shutters on plaster, pillars on stone) and most buildings are of brick, so that a label map
tells the colours of its picture: otherwise a short training learns their average.
"""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

Colour = tuple[int, int, int]

_TRAITS = {  # by style: brick, plaster, stone, modern
    "share": (0.7, 0.14, 0.1, 0.06),  # of all buildings
    "window_width": ((0.44, 0.6), (0.38, 0.46), (0.42, 0.54), (0.62, 0.78)),  # range, as a fraction of the bay
    "window_looks": (("flat", "segment"), ("flat",), ("flat", "arch"), ("wide",)),
    # Probabilities.
    "sill": (0.95, 0.7, 0.6, 0.3),
    "balcony": (0.3, 0.35, 0.4, 0.7),
    "course": (0.3, 0.4, 0.8, 0.1),  # a molding between two floors
    "shop": (0.6, 0.5, 0.4, 0.5),
    "hood": (0.5, 0.35, 0.8, 0.0),  # a cornice above the windows of a floor
    "blind": (0.0, 1.0, 0.0, 0.3),
    "deco": (0.1, 0.2, 0.6, 0.0),
    "pillar": (0.0, 0.0, 1.0, 0.0),
    "pitched": (0.0, 0.85, 0.6, 0.0),  # a roof to see; otherwise it is flat
    # Masonry.
    "courses": (32, 16, 16, 8),  # per image height; even, so that courses meet the plan's grid
    "length": (2.25, 2.5, 2.5, 2.0),  # of a stone, in courses
    "spread": (9, 0, 7, 2),  # of the stones' brightness
    "joint": ((206, 190, 172), (130, 104, 80), (132, 120, 102), (150, 150, 150)),
    "strength": (0.6, 0.0, 0.6, 0.35),  # of the joints, 0 to 1
    "surrounds": (False, True, False, False),  # painted frames on the wall around the windows
    "rusticated": (False, True, True, False),  # grooves along the ground floor
    "iron": (True, True, False, True),  # railings; stone balusters otherwise
    "roof": ((92, 84, 84), (176, 88, 58), (96, 106, 118), (110, 112, 114)),
    # Colours of which a building takes one.
    "walls": (
        ((160, 72, 52), (146, 62, 48), (172, 92, 66), (134, 66, 56)),
        ((232, 204, 146), (226, 184, 116), (236, 216, 178), (224, 172, 142), (196, 204, 180)),
        ((206, 192, 164), (192, 184, 168), (216, 200, 166)),
        ((214, 214, 210), (196, 198, 200), (226, 222, 212)),
    ),
    "trims": (
        ((226, 216, 198), (206, 194, 174)),
        ((246, 240, 226), (238, 228, 206)),
        ((228, 218, 196), (222, 214, 200)),
        ((168, 172, 176), (236, 236, 234)),
    ),
    "accents": (  # shutters and doors
        ((36, 62, 52), (44, 52, 70), (120, 36, 34)),
        ((58, 98, 74), (112, 64, 44), (70, 100, 122), (96, 110, 70)),
        ((88, 58, 40), (52, 60, 56)),
        ((70, 78, 88), (168, 112, 72)),
    ),
}
Style = SimpleNamespace
STYLES = [Style(**dict(zip(_TRAITS, column, strict=True))) for column in zip(*_TRAITS.values(), strict=True)]


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
