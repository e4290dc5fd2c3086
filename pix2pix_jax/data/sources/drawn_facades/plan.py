"""The plan of a drawn facade: labelled boxes from back to front, on a grid of 64 x 64 cells over the picture.

At 64, 128 and 256 pixels a cell is of whole pixels, and of whole brick courses.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pix2pix_jax.data.sources.drawn_facades.styles import STYLES, Style

GRID = 64  # cells along each side
# Back to front: what stands out from the wall hides what lies in it.
_LAYERS = ("facade", "window", "blind", "pillar", "molding", "deco", "door", "shop", "sill", "cornice", "balcony")

Box = tuple[float, float, float, float]  # left, top, right, bottom in cells
Bays = list[tuple[float, float]]  # the left and right of each column of windows
Pixels = tuple[int, int, int, int]  # left, top, right, bottom; half-open
Rng = np.random.Generator


@dataclass(frozen=True)
class Part:
    """One labelled box, and a variant of how it is built."""

    label: str
    box: Box
    look: str = ""


@dataclass(frozen=True)
class Building:
    """A facade from `box`, its roof's ridge at height `ridge`, and its parts back to front."""

    style: Style
    box: Box
    ridge: int
    parts: list[Part]


@dataclass(frozen=True)
class Scene:
    """One or two buildings on a street whose kerb is at height `street`."""

    street: int
    buildings: list[Building]


def pixel_box(box: Box, size: tuple[int, int]) -> Pixels:
    """Rounds a box to the pixels of an (H, W) picture, at least one in each way."""
    down, across = (side / GRID for side in size)
    left, top = round(box[0] * across), round(box[1] * down)
    return left, top, max(left + 1, round(box[2] * across)), max(top + 1, round(box[3] * down))


def plan_scene(rng: Rng) -> Scene:
    """Places one building, or two side by side, between strips of background."""
    street = round(rng.uniform(57.6, 64))
    left = round(rng.uniform(1.28, 8.32)) if rng.random() < 0.65 else 0
    right = GRID - round(rng.uniform(1.28, 8.32)) if rng.random() < 0.65 else GRID
    middle = [round(rng.uniform(25.6, 38.4))] if rng.random() < 0.3 else []
    return Scene(street, [_plan_building(rng, a, b, street) for a, b in pairwise([left, *middle, right])])


def _plan_building(rng: Rng, left: int, right: int, street: int) -> Building:
    style = STYLES[rng.choice(len(STYLES), p=[style.share for style in STYLES])]
    pitched = rng.random() < style.pitched
    top = round(rng.uniform(12.16, 17.92) if pitched else rng.uniform(1.28, 12.8))
    ridge = top - (rng.integers(7, 11) if pitched else 0)
    eaves = top + rng.integers(2, 5)
    levels = _levels(rng, eaves, street)
    count = max(2, round((right - left) / rng.uniform(8.32, 13.44)))
    bays = list(pairwise(np.linspace(left + 1, right - 1, count + 1)))
    parts = [
        Part("facade", (left, top, right, street)),
        Part("facade", (left, levels[-2], right, street), "base"),
        Part("molding", (left, top, right, eaves), "crown"),
        *_frieze(rng, style, bays, (top, eaves)),
        *_upper_floors(rng, style, bays, levels[:-1]),
        *_ground_floor(rng, style, bays, levels[-2:]),
    ]
    if rng.random() < style.pillar:
        parts += _pillars(rng, bays, (eaves, levels[-2]))
    if pitched and rng.random() < 0.65:
        parts += _dormers(bays, (ridge, top))
    parts.sort(key=lambda part: _LAYERS.index(part.label))
    return Building(style, (left, top, right, street), ridge, parts)


def _levels(rng: Rng, eaves: int, street: int) -> list[int]:
    """Draws the heights of the floors from the eaves down to the street. The ground floor is the tallest."""
    shares = [1.0] * int(rng.integers(2, 5)) + [rng.uniform(1.15, 1.45)]
    heights = np.cumsum([0.0, *shares]) * (street - eaves) / sum(shares)
    return [round(eaves + height) for height in heights]


def _upper_floors(rng: Rng, style: Style, bays: Bays, levels: list[int]) -> Iterator[Part]:
    """Yields windows and what belongs to them. A floor repeats itself from bay to bay."""
    share = rng.uniform(*style.window_width)
    hood, sill, blind = (rng.random() < p for p in (style.hood, style.sill, style.blind))
    for top, bottom in pairwise(levels):
        look = str(rng.choice(style.window_looks))
        boxes = _windows(rng, bays, (top, bottom), share, look)
        yield from (Part("window", box, look) for box in boxes)
        if blind:
            yield from (part for box in boxes for part in _blinds(rng, box, look))
        if sill:
            yield from (_sill(box) for box in boxes)
        if hood and rng.random() < 0.8:
            height, hooded = ((1, ""), (2, ""), (2, "pediment"))[rng.integers(3)]
            yield from (_above("cornice", box, height, hooded) for box in boxes)
        if rng.random() < style.deco / 2:
            yield from _panels(bays, boxes)
        if rng.random() < style.balcony:
            yield from _balconies(rng, boxes)
        if rng.random() < style.course or bottom == levels[-1]:
            yield Part("molding", (bays[0][0] - 1, bottom, bays[-1][1] + 1, bottom + 1))


def _windows(rng: Rng, bays: Bays, storey: tuple[int, int], share: float, look: str) -> list[Box]:
    """Places a window in the middle of every bay, `share` of its width."""
    ceiling, floor = storey
    height = floor - ceiling
    top = max(round(ceiling + height * rng.uniform(0.2, 0.3)), ceiling + 2)
    bottom = round(floor - height * (0.25 if look == "wide" else rng.uniform(0.12, 0.24)))
    width = max(3, round((bays[0][1] - bays[0][0]) * share))
    lefts = [round((left + right - width) / 2) for left, right in bays]
    return [(left, top, left + width, bottom) for left in lefts]


def _blinds(rng: Rng, box: Box, look: str) -> Iterator[Part]:
    """Yields a shutter on either side of the window, or one drawn over it."""
    left, top, right, bottom = box
    if look == "wide":
        if rng.random() < 0.5:
            yield Part("blind", (left, top, right, round((top + bottom) / 2)), "roller")
    elif rng.random() < 0.12:
        yield Part("blind", box, "closed")
    else:
        wing = max(1, round((right - left) * 0.38))
        yield Part("blind", (left - wing, top, left, bottom))
        yield Part("blind", (right, top, right + wing, bottom))


def _frieze(rng: Rng, style: Style, bays: Bays, crown: tuple[int, int]) -> Iterator[Part]:
    """Yields reliefs in the crowning molding, one over each bay, where it is high enough."""
    top, bottom = crown
    if rng.random() < style.deco and bottom - top > 2:
        for middle in (round((left + right) / 2) for left, right in bays):
            yield Part("deco", (middle - 2, top + 1, middle + 2, bottom))


def _panels(bays: Bays, boxes: list[Box]) -> Iterator[Part]:
    """Yields reliefs on the wall between the windows of a floor."""
    _, top, _, bottom = boxes[0]
    for start in (round(right - 1) for _, right in bays[:-1]):
        yield Part("deco", (start, top, start + 2, bottom))


def _balconies(rng: Rng, boxes: list[Box]) -> Iterator[Part]:
    """Yields one balcony along the floor, one before the middle window, or one before each window."""
    reach = rng.uniform(0.3, 0.45)
    middle = boxes[(len(boxes) - 1) // 2 : len(boxes) // 2 + 1]
    groups = [[boxes], [middle], [[box] for box in boxes]][rng.integers(3)]
    for group in groups:
        (left, top, _, bottom), right = group[0], group[-1][2]
        yield Part("balcony", (left - 1, round(bottom - (bottom - top) * reach), right + 1, bottom + 1))


def _ground_floor(rng: Rng, style: Style, bays: Bays, levels: list[int]) -> Iterator[Part]:
    """Yields a door in one bay, and shops or windows in the others."""
    ceiling, street = levels
    entrance = int(rng.choice([len(bays) // 2, len(bays) // 2, 0, len(bays) - 1]))
    shops = rng.random() < style.shop
    look = str(rng.choice(style.window_looks))
    boxes = _windows(rng, bays, (ceiling, street), 0.5, look)
    shop_top = round(ceiling + (street - ceiling) * rng.uniform(0.15, 0.3))
    for bay, ((start, end), box) in enumerate(zip(bays, boxes, strict=True)):
        if bay == entrance:
            yield from _entrance(rng, style, box, street)
        elif shops:
            yield Part("shop", (round(start + 0.5), shop_top, round(end - 0.5), street))
        else:
            yield Part("window", box, look)
            yield _sill(box)


def _entrance(rng: Rng, style: Style, window: Box, street: int) -> Iterator[Part]:
    """Yields a door where the window would be, and what frames it."""
    left, top, right, _ = window
    middle, half = (left + right) / 2, min(3, (right - left) * 0.6)
    left, right = round(middle - half), round(middle + half)
    door = (left, top, right, street)
    yield Part("door", door)
    if rng.random() < 0.5:
        yield _above("deco" if rng.random() < style.deco + 0.2 else "cornice", door, 2)
    if rng.random() < style.pillar / 2:
        yield Part("pillar", (left - 2, top, left, street))
        yield Part("pillar", (right, top, right + 2, street))


def _pillars(rng: Rng, bays: Bays, storeys: tuple[int, int]) -> Iterator[Part]:
    """Yields giant pilasters over all upper floors: between all bays, or only at the two ends."""
    top, bottom = storeys
    edges = [bays[0][0], *(right for _, right in bays)]
    for edge in edges if rng.random() < 0.6 else (edges[0], edges[-1]):
        left = min(max(round(edge - 1), edges[0]), edges[-1] - 2)
        yield Part("pillar", (left, top, left + 2, bottom))


def _dormers(bays: Bays, roof: tuple[int, int]) -> Iterator[Part]:
    """Yields windows in the roof, which the published labels count as background."""
    ridge, eaves = roof
    for left, right in bays[1:-1:2] or bays:
        start = round((left + right) / 2 - 1.5)
        box = (start, ridge + 3, start + 3, eaves - 1)
        yield Part("window", box, "dormer")
        yield _above("cornice", box, 2, "pediment")


def _above(label: str, box: Box, height: int, look: str = "") -> Part:
    """Returns a strip on top of `box`, a cell longer on both sides."""
    left, top, right, _ = box
    return Part(label, (left - 1, top - height, right + 1, top), look)


def _sill(window: Box) -> Part:
    left, _, right, bottom = window
    return Part("sill", (left - 1, bottom, right + 1, bottom + 1))
