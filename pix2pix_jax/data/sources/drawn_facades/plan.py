"""The plan of a drawn facade: labelled boxes in fractions of the picture, from back to front."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# Back to front: what stands out from the wall hides what lies in it.
_LAYERS = (
    *("facade", "window", "blind", "pillar", "molding", "deco"),
    *("door", "shop", "sill", "cornice", "balcony"),
)
_GRID = 64  # boxes lie on a 64 x 64 grid: whole pixels at 64, 128 and 256, and whole brick courses
_CELL = 1 / _GRID

Box = tuple[float, float, float, float]
Bays = list[tuple[float, float]]  # the left and right of each column of windows


@dataclass(frozen=True)
class Part:
    """One labelled box: (left, top, right, bottom) in [0, 1], and a variant of how it is built."""

    label: str
    box: Box
    look: str = ""


@dataclass(frozen=True)
class Building:
    """A facade from `box`, its roof's ridge at height `ridge`, and its parts back to front."""

    style: str
    box: Box
    ridge: float
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Scene:
    """One or two buildings on a street whose kerb is at height `street`."""

    street: float
    buildings: tuple[Building, ...]


@dataclass(frozen=True)
class Style:
    """How a kind of building is put together; numbers are probabilities unless said otherwise.

    Materials go with habits (shutters on plaster, pillars on stone) and most buildings are of brick,
    so that a label map tells the colours of its picture: otherwise a short training learns their average.
    """

    share: float  # of all buildings
    window: tuple[float, float]  # range of the window's width as a fraction of its bay
    looks: tuple[str, ...]  # shapes of window
    sill: float
    balcony: float
    course: float  # a molding between two floors
    shop: float
    hood: float = 0.0  # a cornice above the windows of a floor
    blind: float = 0.0
    deco: float = 0.0
    pillar: float = 0.0
    pitched: float = 0.0  # a roof to see; otherwise it is flat


STYLES = {
    "brick": Style(
        share=0.7,
        window=(0.44, 0.6),
        looks=("flat", "segment"),
        sill=0.95,
        balcony=0.3,
        course=0.3,
        shop=0.6,
        hood=0.5,
        deco=0.1,
    ),
    "plaster": Style(
        share=0.14,
        window=(0.38, 0.46),
        looks=("flat",),
        sill=0.7,
        balcony=0.35,
        course=0.4,
        shop=0.5,
        hood=0.35,
        blind=1.0,
        deco=0.2,
        pitched=0.85,
    ),
    "stone": Style(
        share=0.1,
        window=(0.42, 0.54),
        looks=("flat", "arch"),
        sill=0.6,
        balcony=0.4,
        course=0.8,
        shop=0.4,
        hood=0.8,
        deco=0.6,
        pillar=1.0,
        pitched=0.6,
    ),
    "modern": Style(
        share=0.06, window=(0.62, 0.78), looks=("wide",), sill=0.3, balcony=0.7, course=0.1, shop=0.5, blind=0.3
    ),
}


def plan_scene(rng: np.random.Generator) -> Scene:
    """Places one building, or two side by side, between strips of background."""
    street = _snap(rng.uniform(0.9, 1.0))
    left = _snap(rng.uniform(0.02, 0.13)) if rng.random() < 0.65 else 0.0
    right = 1 - _snap(rng.uniform(0.02, 0.13)) if rng.random() < 0.65 else 1.0
    edges = [left, right]
    if rng.random() < 0.3:
        edges.insert(1, _snap(rng.uniform(0.4, 0.6)))
    return Scene(street, tuple(_plan_building(rng, a, b, street) for a, b in pairwise(edges)))


def _plan_building(rng: np.random.Generator, left: float, right: float, street: float) -> Building:
    name = str(rng.choice(list(STYLES), p=[style.share for style in STYLES.values()]))
    style = STYLES[name]
    pitched = rng.random() < style.pitched
    top = _snap(rng.uniform(0.19, 0.28) if pitched else rng.uniform(0.02, 0.2))
    ridge = top - (rng.integers(7, 11) * _CELL if pitched else 0)
    eaves = top + _CELL * rng.integers(2, 5)
    levels = _levels(rng, eaves, street)
    count = max(2, round((right - left) / rng.uniform(0.13, 0.21)))
    bays = list(pairwise(np.linspace(left + _CELL, right - _CELL, count + 1)))
    parts = [
        Part("facade", (left, top, right, street)),
        Part("facade", (left, levels[-2], right, street), "base"),
        Part("molding", (left, top, right, eaves), "crown"),
        *_frieze(rng, style, bays, (top, eaves)),
        *_upper_floors(rng, style, bays, levels[:-1]),
        *_ground_floor(rng, style, bays, levels[-2:]),
    ]
    if rng.random() < style.pillar:
        parts += _pillars(rng, bays, eaves, levels[-2])
    if pitched and rng.random() < 0.65:
        parts += _dormers(bays, ridge, top)
    parts.sort(key=lambda part: _LAYERS.index(part.label))
    return Building(name, (left, top, right, street), ridge, tuple(parts))


def _levels(rng: np.random.Generator, eaves: float, street: float) -> list[float]:
    """Draws the heights of the floors from the eaves down to the street. The ground floor is the tallest."""
    shares = [1.0] * int(rng.integers(2, 5)) + [rng.uniform(1.15, 1.45)]
    heights = np.cumsum([0.0, *shares]) * (street - eaves) / sum(shares)
    return [_snap(eaves + height) for height in heights]


def _upper_floors(rng: np.random.Generator, style: Style, bays: Bays, levels: list[float]) -> Iterator[Part]:
    """Yields windows and what belongs to them. A floor repeats itself from bay to bay."""
    share = rng.uniform(*style.window)
    hood, sill, blind = (rng.random() < p for p in (style.hood, style.sill, style.blind))
    for top, bottom in pairwise(levels):
        look = str(rng.choice(style.looks))
        boxes = _windows(rng, bays, (top, bottom), share, look)
        yield from (Part("window", box, look) for box in boxes)
        if blind:
            yield from (part for box in boxes for part in _blinds(rng, box, look))
        if sill:
            yield from (Part("sill", _around(box, below=_CELL)) for box in boxes)
        if hood and rng.random() < 0.8:
            high, hooded = ((_CELL, ""), (2 * _CELL, ""), (2 * _CELL, "pediment"))[rng.integers(3)]
            yield from (Part("cornice", _around(box, above=high), hooded) for box in boxes)
        if rng.random() < style.deco / 2:
            yield from _panels(bays, boxes)
        if rng.random() < style.balcony:
            yield from _balconies(rng, boxes)
        if rng.random() < style.course or bottom == levels[-1]:
            strip = (bays[0][0] - _CELL, bottom, bays[-1][1] + _CELL, bottom + _CELL)
            yield Part("molding", strip)


def _windows(rng: np.random.Generator, bays: Bays, storey: tuple[float, float], share: float, look: str) -> list[Box]:
    """Places a window in the middle of every bay, `share` of its width."""
    ceiling, floor = storey
    height = floor - ceiling
    top = max(_snap(ceiling + height * rng.uniform(0.2, 0.3)), ceiling + 2 * _CELL)
    bottom = _snap(floor - height * (0.25 if look == "wide" else rng.uniform(0.12, 0.24)))
    width = max(3 * _CELL, _snap((bays[0][1] - bays[0][0]) * share))
    lefts = [_snap((left + right - width) / 2) for left, right in bays]
    return [(left, top, left + width, bottom) for left in lefts]


def _blinds(rng: np.random.Generator, box: Box, look: str) -> Iterator[Part]:
    """Yields a shutter on either side of the window, or one drawn over it."""
    left, top, right, bottom = box
    if look == "wide":
        if rng.random() < 0.5:
            yield Part("blind", (left, top, right, _snap((top + bottom) / 2)), "roller")
    elif rng.random() < 0.12:
        yield Part("blind", box, "closed")
    else:
        wing = max(_CELL, _snap((right - left) * 0.38))
        yield Part("blind", (left - wing, top, left, bottom))
        yield Part("blind", (right, top, right + wing, bottom))


def _frieze(rng: np.random.Generator, style: Style, bays: Bays, crown: tuple[float, float]) -> Iterator[Part]:
    """Yields reliefs in the crowning molding, one over each bay, where it is high enough."""
    top, bottom = crown
    if rng.random() < style.deco and bottom - top > 2 * _CELL:
        for middle in (_snap((left + right) / 2) for left, right in bays):
            yield Part("deco", (middle - 2 * _CELL, top + _CELL, middle + 2 * _CELL, bottom))


def _panels(bays: Bays, boxes: list[Box]) -> Iterator[Part]:
    """Yields reliefs on the wall between the windows of a floor."""
    for (_, right), (_, top, _, bottom) in zip(bays[:-1], boxes[:-1], strict=True):
        start = _snap(right - _CELL)
        yield Part("deco", (start, top, start + 2 * _CELL, bottom))


def _balconies(rng: np.random.Generator, boxes: list[Box]) -> Iterator[Part]:
    """Yields one balcony along the floor, one before the middle window, or one before each window."""
    reach = rng.uniform(0.3, 0.45)
    middle = boxes[(len(boxes) - 1) // 2 : len(boxes) // 2 + 1]
    groups = [[boxes], [middle], [[box] for box in boxes]][rng.integers(3)]
    for group in groups:
        (left, top, _, bottom), right = group[0], group[-1][2]
        rail = _snap(bottom - (bottom - top) * reach)
        yield Part("balcony", (left - _CELL, rail, right + _CELL, bottom + _CELL))


def _ground_floor(rng: np.random.Generator, style: Style, bays: Bays, levels: list[float]) -> Iterator[Part]:
    """Yields a door in one bay, and shops or windows in the others."""
    ceiling, street = levels
    entrance = int(rng.choice([len(bays) // 2, len(bays) // 2, 0, len(bays) - 1]))
    shops = rng.random() < style.shop
    look = str(rng.choice(style.looks))
    boxes = _windows(rng, bays, (ceiling, street), 0.5, look)
    shop_top = _snap(ceiling + (street - ceiling) * rng.uniform(0.15, 0.3))
    for bay, ((start, end), box) in enumerate(zip(bays, boxes, strict=True)):
        if bay == entrance:
            yield from _entrance(rng, style, box, street)
        elif shops:
            yield Part("shop", (_snap(start + _CELL / 2), shop_top, _snap(end - _CELL / 2), street))
        else:
            yield Part("window", box, look)
            yield Part("sill", _around(box, below=_CELL))


def _entrance(rng: np.random.Generator, style: Style, box: Box, street: float) -> Iterator[Part]:
    left, top, right, _ = box
    middle, half = (left + right) / 2, min(3 * _CELL, (right - left) * 0.6)
    left, right = _snap(middle - half), _snap(middle + half)
    yield Part("door", (left, top, right, street))
    if rng.random() < 0.5:
        above = "deco" if rng.random() < style.deco + 0.2 else "cornice"
        yield Part(above, _around((left, top, right, street), above=2 * _CELL))
    if rng.random() < style.pillar / 2:
        yield Part("pillar", (left - 2 * _CELL, top, left, street))
        yield Part("pillar", (right, top, right + 2 * _CELL, street))


def _pillars(rng: np.random.Generator, bays: Bays, top: float, bottom: float) -> list[Part]:
    """Places giant pilasters over all upper floors: between all bays, or only at the two ends."""
    edges = [bays[0][0], *(right for _, right in bays)]
    chosen = edges if rng.random() < 0.6 else [edges[0], edges[-1]]
    lefts = [min(max(_snap(x - _CELL), bays[0][0]), bays[-1][1] - 2 * _CELL) for x in chosen]
    return [Part("pillar", (left, top, left + 2 * _CELL, bottom)) for left in lefts]


def _dormers(bays: Bays, ridge: float, eaves: float) -> Iterator[Part]:
    """Yields windows in the roof, which the published labels count as background."""
    for left, right in bays[1:-1:2] or bays:
        start = _snap((left + right) / 2 - 1.5 * _CELL)
        box = (start, ridge + 3 * _CELL, start + 3 * _CELL, eaves - _CELL)
        yield Part("window", box, "dormer")
        yield Part("cornice", _around(box, above=2 * _CELL), "pediment")


def _around(box: Box, *, above: float = 0, below: float = 0) -> Box:
    """Returns the strip on top of `box` or beneath it, a cell longer on both sides."""
    left, top, right, bottom = box
    if above:
        return (left - _CELL, top - above, right + _CELL, top)
    return (left - _CELL, bottom, right + _CELL, bottom + below)


def _snap(value: float) -> float:
    return round(value * _GRID) / _GRID
