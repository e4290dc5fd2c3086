"""The colours of buildings and of the weather."""

from dataclasses import dataclass

import numpy as np

from pix2pix_jax.data.sources.drawn_facades.canvas import Colour


@dataclass(frozen=True)
class Material:
    """A style's masonry and the colours that go with it; every building mixes its own."""

    walls: tuple[Colour, ...]
    trims: tuple[Colour, ...]
    accents: tuple[Colour, ...]  # shutters and doors
    courses: int  # per image height; even, so that courses meet the plan's grid
    length: float  # of a stone, in courses
    joint: Colour
    strength: float  # of the joints, 0 to 1
    spread: float  # of the stones' brightness
    roof: Colour
    iron: bool  # railings; stone balusters otherwise
    surrounds: bool = False  # painted frames on the wall around the windows
    rusticated: bool = False  # grooves along the ground floor


MATERIALS = {
    "brick": Material(
        walls=((160, 72, 52), (146, 62, 48), (172, 92, 66), (134, 66, 56)),
        trims=((226, 216, 198), (206, 194, 174)),
        accents=((36, 62, 52), (44, 52, 70), (120, 36, 34)),
        courses=32,
        length=2.25,
        joint=(206, 190, 172),
        strength=0.6,
        spread=9,
        roof=(92, 84, 84),
        iron=True,
    ),
    "plaster": Material(
        walls=((232, 204, 146), (226, 184, 116), (236, 216, 178), (224, 172, 142), (196, 204, 180)),
        trims=((246, 240, 226), (238, 228, 206)),
        accents=((58, 98, 74), (112, 64, 44), (70, 100, 122), (96, 110, 70)),
        courses=16,
        length=2.5,
        joint=(130, 104, 80),
        strength=0.0,
        spread=0,
        roof=(176, 88, 58),
        iron=True,
        surrounds=True,
        rusticated=True,
    ),
    "stone": Material(
        walls=((206, 192, 164), (192, 184, 168), (216, 200, 166)),
        trims=((228, 218, 196), (222, 214, 200)),
        accents=((88, 58, 40), (52, 60, 56)),
        courses=16,
        length=2.5,
        joint=(132, 120, 102),
        strength=0.6,
        spread=7,
        roof=(96, 106, 118),
        iron=False,
        rusticated=True,
    ),
    "modern": Material(
        walls=((214, 214, 210), (196, 198, 200), (226, 222, 212)),
        trims=((168, 172, 176), (236, 236, 234)),
        accents=((70, 78, 88), (168, 112, 72)),
        courses=8,
        length=2.0,
        joint=(150, 150, 150),
        strength=0.35,
        spread=2,
        roof=(110, 112, 114),
        iron=True,
    ),
}


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


@dataclass(frozen=True)
class Paints:
    """The colours of one building."""

    wall: Colour
    trim: Colour
    accent: Colour
    frame: Colour
    awning: Colour
    sky: Sky
    material: Material


def choose_paints(style: str, sky: Sky, rng: np.random.Generator) -> Paints:
    """Mixes the colours of one building."""
    material = MATERIALS[style]
    return Paints(
        wall=_vary(_pick(material.walls, rng), rng, 7),
        trim=_vary(_pick(material.trims, rng), rng, 4),
        accent=_vary(_pick(material.accents, rng), rng, 7),
        frame=_pick(_FRAMES, rng),
        awning=_pick(_AWNINGS, rng),
        sky=sky,
        material=material,
    )


def _pick(options: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    return options[rng.integers(len(options))]


def _vary(colour: Colour, rng: np.random.Generator, spread: float) -> Colour:
    """Makes the colour a little lighter or darker, and shifts its hue a little."""
    change = rng.normal(0, spread) + rng.normal(0, spread / 3, 3)
    return tuple(int(c) for c in np.clip(np.add(colour, change), 0, 255))
