"""The picture of a plan of `drawn_facades`: sky, street, walls and light around its parts.

What is random (colours, clouds, who is at home) is drawn in an order that no size changes; only the
final grain is drawn per pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pix2pix_jax.data.sources.drawn_facades.parts import (
    BLACK,
    OVERSAMPLING,
    PAINTERS,
    Canvas,
    Colour,
    Rng,
    mix,
    shade,
)

if TYPE_CHECKING:
    from pix2pix_jax.data.sources.drawn_facades.draw import Building, Scene


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
    """The colours that one building was given."""

    wall: Colour
    trim: Colour
    accent: Colour
    frame: Colour
    awning: Colour
    sky: Sky
    material: Material


def paint_photo(scene: Scene, size: tuple[int, int], rng: Rng) -> np.ndarray:
    """Paints `scene` at `size` (H, W): uint8 (H, W, 3)."""
    canvas = Canvas(size)
    sky = SKIES[rng.choice(len(SKIES), p=(0.8, 0.15, 0.05))]
    _paint_sky(canvas, sky, rng)
    _paint_neighbours(canvas, scene, sky, rng)
    for building in scene.buildings:
        _paint_building(canvas, building, sky, rng)
    _paint_street(canvas, scene)
    return _develop(canvas.image.reduce(OVERSAMPLING), sky, rng)


def _develop(image: Image.Image, sky: Sky, rng: Rng) -> np.ndarray:
    """Adds the light's colour and direction, weathering and grain."""
    width, height = image.size
    light = 1 + 0.025 * _clouding(rng, (6, 6), (width, height))
    light += 0.012 * _clouding(rng, (40, 40), (width, height))
    light *= np.linspace(1.06, 0.94, width, dtype=np.float32)
    light *= np.linspace(1.05, 0.95, height, dtype=np.float32)[:, None]
    grain = rng.standard_normal((height, width), np.float32) * 2.5 + 0.5
    photo = np.empty((height, width, 3), np.uint8)
    for channel, tint in enumerate(sky.light):  # by plane: far faster than broadcasting over RGB
        plane = np.asarray(image.getchannel(channel)) * (light * np.float32(tint / 255)) + grain
        photo[..., channel] = np.clip(plane, 0, 255)
    return photo


def _clouding(rng: Rng, shape: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Smooth noise of unit variance: float32, `size` (W, H), with `shape` (rows, columns) knots."""
    knots = Image.fromarray(rng.standard_normal(shape, np.float32))
    return np.asarray(knots.resize(size, Image.Resampling.BICUBIC))


def _paint_sky(canvas: Canvas, sky: Sky, rng: Rng) -> None:
    """A vertical gradient and clouds: noise of two scales, wider than high."""
    noise = _clouding(rng, (10, 4), (32, 64)) + 0.5 * _clouding(rng, (22, 9), (32, 64))
    cover = np.clip(noise * 0.8 - 0.1, 0, 0.8)[..., None]
    height = np.clip(np.linspace(0, 1.6, 64), 0, 1)[:, None, None]
    clear = np.multiply(1 - height, sky.zenith) + np.multiply(height, sky.horizon)
    pixels = (clear * (1 - cover) + np.multiply(cover, sky.cloud)).astype(np.uint8)
    size = (canvas.width, canvas.height)
    canvas.image.paste(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def _paint_neighbours(canvas: Canvas, scene: Scene, sky: Sky, rng: Rng) -> None:
    """What is seen of the houses next door, paler for being further back."""
    ends = (0.0, scene.buildings[0].box[0]), (scene.buildings[-1].box[2], 1.0)
    for left, right in ends:
        top, wall = rng.uniform(0.3, 0.4), mix((150, 132, 116), sky.horizon, rng.uniform(0.2, 0.5))
        if right <= left:
            continue
        canvas.rect(canvas.box((left, top, right, 1)), wall)
        canvas.rect(canvas.box((left, top, right, top + 0.016)), shade(wall, 0.75))
        middle, half = (left + right) / 2, (right - left) / 5
        for y in np.arange(top + 0.06, 0.9, 0.13):
            canvas.rect(canvas.box((middle - half, y, middle + half, y + 0.07)), shade(wall, 0.6))


def _paint_street(canvas: Canvas, scene: Scene) -> None:
    """A pavement of slabs, its kerb and the road."""
    top = OVERSAMPLING * round(scene.street * canvas.size[0])
    kerb = top + (canvas.height - top) * 0.45
    canvas.rect((0, top, canvas.width, kerb), (172, 166, 158))
    canvas.stripes((0, top, canvas.width, kerb), 10, 0.05, (140, 134, 128))
    canvas.rect((0, kerb, canvas.width, canvas.height), (92, 92, 96))
    canvas.rect((0, kerb, canvas.width, kerb + canvas.px(1)), (206, 202, 196))
    canvas.fade((0, top, canvas.width, top + canvas.px(4)), BLACK, 110)


def _paint_building(canvas: Canvas, building: Building, sky: Sky, rng: Rng) -> None:
    material = MATERIALS[building.style]
    paints = Paints(
        wall=_vary(_pick(material.walls, rng), rng, 7),
        trim=_vary(_pick(material.trims, rng), rng, 4),
        accent=_vary(_pick(material.accents, rng), rng, 7),
        frame=_pick(_FRAMES, rng),
        awning=_pick(_AWNINGS, rng),
        sky=sky,
        material=material,
    )
    _paint_roof(canvas, building, material)
    for part in building.parts:
        PAINTERS[part.label](canvas, canvas.box(part.box), part.look, paints, rng)


def _paint_roof(canvas: Canvas, building: Building, material: Material) -> None:
    """A pitched roof with its rows of tiles and two chimneys; nothing where it is flat."""
    left, top, right, _ = canvas.box(building.box)
    ridge = round(building.ridge * canvas.height)
    if ridge >= top:
        return
    for x in (0.22, 0.74):
        start, cap = left + (right - left) * x, ridge - canvas.px(5)
        canvas.rect((start, cap, start + canvas.px(6), top), (156, 98, 78))
        canvas.rect((start, cap, start + canvas.px(6), cap + canvas.px(1.5)), (100, 74, 64))
    slope = (top - ridge) * 0.45
    outline = [(left, top), (left + slope, ridge), (right - slope - 1, ridge), (right - 1, top)]
    canvas.draw.polygon(outline, material.roof)
    for y in np.arange(ridge, top, 2 * canvas.unit):
        inset = slope * (top - y) / (top - ridge)
        canvas.rect((left + inset, y, right - inset, y + canvas.px(0.7)), shade(material.roof, 0.8))


def _pick(options: tuple[Colour, ...], rng: Rng) -> Colour:
    return options[rng.integers(len(options))]


def _vary(colour: Colour, rng: Rng, spread: float) -> Colour:
    """The colour a little lighter or darker, and a little off in hue."""
    change = rng.normal(0, spread) + rng.normal(0, spread / 3, 3)
    return tuple(int(c) for c in np.clip(np.add(colour, change), 0, 255))
