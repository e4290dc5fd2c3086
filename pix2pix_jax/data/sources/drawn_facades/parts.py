"""Painters of the labelled parts of a building, by label.

A painter takes (canvas, box in canvas pixels, look, paints, rng).
"""

import numpy as np
from PIL import Image

from pix2pix_jax.data.sources.drawn_facades.canvas import BLACK, WHITE, Canvas, Colour, Edges, mix, shade
from pix2pix_jax.data.sources.drawn_facades.plan import Pixels, Rng
from pix2pix_jax.data.sources.drawn_facades.styles import Paints


def _facade(canvas: Canvas, box: Pixels, look: str, paints: Paints, rng: Rng) -> None:
    """Paints masonry in running bond, or the rusticated base of a plastered or a stone wall."""
    if look != "base":
        _masonry(canvas, box, paints, rng)
    elif paints.style.rusticated:
        canvas.rect(box, BLACK, 22)
        canvas.stripes(box, 4, 0.25, shade(paints.wall, 0.76), level=True)
    else:
        return
    left, _, right, bottom = box
    canvas.rect((left, bottom - canvas.px(3), right, bottom), shade(paints.wall, 0.62))


def _masonry(canvas: Canvas, box: Pixels, paints: Paints, rng: Rng) -> None:
    """Paints courses of stones, counted from the top of the picture.

    The fixed origin keeps them on the grid of the plan, where a model can learn their place.
    """
    left, top, right, bottom = box
    style = paints.style
    stones = rng.integers(0, 255, (64, 64), np.uint8)
    tints = rng.normal(0, style.spread, (256, 1)) + rng.normal(0, style.spread / 6, (256, 3))
    tints += paints.wall
    tints[255] = mix(paints.wall, style.joint, style.strength)
    course = canvas.height / style.courses
    joint = canvas.px(1) / course
    down, across = np.arange(top, bottom) / course, np.arange(left, right) / course
    row = down.astype(int)
    wall = np.empty((row[-1] + 1, right - left), np.uint8)
    for number in range(row[0], len(wall)):
        along = across / style.length + number % 2 / 2
        wall[number] = stones[number % 64, along.astype(int) % 64]
        wall[number, along % 1 < joint / style.length] = 255
    wall = wall[row]
    wall[down % 1 < joint] = 255
    image = Image.fromarray(wall)
    image.putpalette(np.clip(tints, 0, 255).astype(np.uint8).tobytes())
    canvas.image.paste(image.convert("RGB"), (left, top))


def _window(canvas: Canvas, box: Pixels, look: str, paints: Paints, rng: Rng) -> None:
    """Paints a reveal in shadow, panes, and the frame around and between them."""
    left, top, right, bottom = box
    lit, curtained = rng.random() < paints.sky.lamps, rng.random() < 0.3
    line, thin = canvas.px(1), canvas.px(0.5)
    round_top = {"arch": (right - left) / 2, "segment": (right - left) / 5}.get(look, 0)
    if look == "flat" and paints.style.surrounds:
        around = (left - 2 * line, top - 2 * line, right + 2 * line, bottom + line)
        canvas.rect(around, mix(paints.trim, paints.wall, 0.25))
    canvas.rect(box, shade(paints.wall, 0.5), round_top=round_top)
    canvas.rect((left + thin, top + thin, right, bottom), paints.frame, round_top=round_top)
    glass = (left + thin + line, top + thin + line, right - line, bottom - line)
    canvas.rect(glass, (255, 212, 128) if lit else (46, 60, 76), round_top=round_top)
    if not lit:
        _reflection(canvas, glass, round_top, paints.sky.horizon)
    if curtained:
        fold = (right - left) * 0.15
        for x in (glass[0], glass[2] - fold):
            canvas.rect((x, glass[1] + round_top, x + fold, glass[3]), (236, 230, 216), 130)
    _bars(canvas, glass, look, paints.frame)
    shadow = glass[1] + round_top / 2
    canvas.rect((glass[0], shadow, glass[2], shadow + 1.5 * line), BLACK, 80)


def _reflection(canvas: Canvas, glass: Edges, round_top: float, sky: Colour) -> None:
    """Paints the sky in the upper panes, and a slanting gleam."""
    left, top, right, bottom = glass
    height = bottom - top
    canvas.fade((left, top + round_top, right, bottom - height * 0.1), mix(sky, (90, 150, 210), 0.5), 130)
    gleam = ((left, 0.75), (left, 0.5), (right - 1, 0.3), (right - 1, 0.55))
    canvas.draw.polygon([(x, top + height * y) for x, y in gleam], (*sky, 60))


def _bars(canvas: Canvas, glass: Edges, look: str, colour: Colour) -> None:
    """Paints the bars between panes: a cross, or the uprights of a wide window."""
    left, top, right, bottom = glass
    line = canvas.px(0.8)
    if look == "wide":
        for share in (0.33, 0.67):
            x = left + (right - left) * share
            canvas.rect((x, top, x + line, bottom), colour)
        return
    middle, rung = (left + right - line) / 2, top + (bottom - top) * 0.36
    canvas.rect((middle, top, middle + line, bottom), colour)
    canvas.rect((left, rung, right, rung + line), colour)


def _blind(canvas: Canvas, box: Pixels, look: str, paints: Paints, rng: Rng) -> None:
    """Paints slats and their shadows, in the frame of a shutter or loose."""
    left, top, right, bottom = box
    roller = look == "roller"
    colour = mix(paints.trim, WHITE, 0.4) if roller else paints.accent
    canvas.rect(box, colour)
    edge = 0 if roller else canvas.px(0.5)
    canvas.stripes((left + edge, top, right - edge, bottom), 2, 0.5, shade(colour, 0.7), level=True)
    canvas.shadow(box, 1)


def _ledge(canvas: Canvas, box: Pixels, look: str, paints: Paints, rng: Rng) -> None:
    """Paints the sill or the hood of a window: a slab, or a triangle with a shaded field on one."""
    left, top, right, bottom = box
    canvas.shadow(box, 3)
    if look != "pediment":
        canvas.slab(box, paints.trim)
        return
    middle, foot, inset = (left + right) / 2, bottom - canvas.px(1), canvas.px(1.5)
    canvas.draw.polygon([(left, foot), (middle, top), (right - 1, foot)], paints.trim)
    field = [(left + 2 * inset, foot), (middle, top + inset), (right - 1 - 2 * inset, foot)]
    canvas.draw.polygon(field, shade(paints.trim, 0.8))
    canvas.slab((left, foot - canvas.px(0.5), right, bottom), paints.trim)


def _molding(canvas: Canvas, box: Pixels, look: str, paints: Paints, rng: Rng) -> None:
    """Paints a string course. The one that crowns the wall has dentils under its shelf."""
    left, top, right, bottom = box
    if look != "crown":
        canvas.shadow(box, 2)
        canvas.slab(box, paints.trim)
        return
    canvas.shadow(box, 5)
    shelf = round(top + (bottom - top) * 0.4)
    canvas.rect(box, shade(paints.trim, 0.64))
    canvas.stripes((left, shelf, right, bottom), 4, 0.5, paints.trim)
    canvas.slab((left, top, right, shelf), paints.trim)
    canvas.rect((left, bottom - canvas.px(1), right, bottom), shade(paints.trim, 0.86))


def _pillar(canvas: Canvas, box: Pixels, look: str, paints: Paints, rng: Rng) -> None:
    """Paints a round shaft between its capital and its base."""
    left, top, right, bottom = box
    width, cap = right - left, canvas.px(3)
    canvas.rect((right, top, right + canvas.px(1.5), bottom), BLACK, 70)
    for strip, shine in enumerate((0.82, 1.08, 1.0, 0.78, 0.6)):
        start = left + width * strip / 5
        canvas.rect((start, top, start + width / 5, bottom), shade(paints.trim, shine))
    canvas.slab((left, top, right, top + cap), paints.trim)
    canvas.slab((left, bottom - cap, right, bottom), paints.trim)


def _deco(canvas: Canvas, box: Pixels, look: str, paints: Paints, rng: Rng) -> None:
    """Paints a framed panel with bosses along its longer side."""
    left, top, right, bottom = box
    line = canvas.px(0.5)
    canvas.rect(box, paints.trim)
    field = (left + line, top + line, right - line, bottom - line)
    canvas.rect(field, mix(shade(paints.wall, 0.75), (150, 104, 70), 0.4))
    width, height = right - left, bottom - top
    count, radius = max(1, round(max(width, height) / min(width, height))), min(width, height) * 0.32
    for number in range(count):
        share = (number + 0.5) / count
        x = left + width * (share if width > height else 0.5)
        y = top + height * (0.5 if width > height else share)
        canvas.draw.ellipse((x - radius, y - radius, x + radius, y + radius), paints.trim)
        inner = (x - radius / 3, y - radius / 3, x + radius / 2, y + radius / 2)
        canvas.draw.ellipse(inner, shade(paints.trim, 0.7))


def _balcony(canvas: Canvas, box: Pixels, look: str, paints: Paints, rng: Rng) -> None:
    """Paints a slab that carries an iron railing to see through, or a balustrade of stone."""
    left, top, right, bottom = box
    floor = bottom - canvas.px(2)
    canvas.shadow(box, 6)
    if paints.style.iron:
        colour = (38, 38, 42)
        canvas.rect((left, top, right, floor), colour, 60)
        canvas.stripes((left, top, right, floor), 2, 0.5, colour)
    else:
        colour = paints.trim
        canvas.rect((left, top, right, floor), shade(paints.wall, 0.5))
        canvas.stripes((left, top, right, floor), 3, 0.6, colour)
    canvas.rect((left, top, right, top + canvas.px(1)), colour)
    canvas.slab((left, floor, right, bottom), paints.trim)


def _door(canvas: Canvas, box: Pixels, look: str, paints: Paints, rng: Rng) -> None:
    """Paints two panelled leaves under a fanlight."""
    left, top, right, bottom = box
    line = canvas.px(1)
    canvas.rect(box, paints.trim)
    left, top, right = left + line, top + line, right - line
    leaf, middle = round(top + (bottom - top) * 0.25), (left + right) / 2
    canvas.rect((left, top, right, bottom), shade(paints.accent, 0.85))
    canvas.rect((left + line, top + line, right - line, leaf - line), (150, 172, 188))
    for start in (left, middle):
        for upper, lower in ((0.02, 0.45), (0.52, 0.95)):
            rise = bottom - leaf
            panel = (start + line, leaf + rise * upper, start + middle - left - line, leaf + rise * lower)
            canvas.rect(panel, mix(paints.accent, WHITE, 0.15))
    knob = (leaf + bottom) / 2
    canvas.rect((middle + line, knob, middle + 2 * line, knob + line), (222, 190, 96))
    canvas.fade((left, top, right, top + 4 * line), BLACK, 110)


def _shop(canvas: Canvas, box: Pixels, look: str, paints: Paints, rng: Rng) -> None:
    """Paints a lit display behind glass, under a striped awning."""
    left, top, right, bottom = box
    line, height = canvas.px(1), bottom - top
    glass = (left + line, top + height * 0.2, right - line, bottom - height * 0.16)
    hem = round(top + height * 0.34)
    canvas.rect(box, shade(paints.accent, 0.7))
    canvas.rect(glass, (98, 92, 84))
    canvas.fade(glass, (255, 226, 168), 150)
    _goods(canvas, glass, rng)
    middle = (left + right) / 2
    canvas.rect((middle - line / 2, top, middle + line / 2, glass[3]), shade(paints.accent, 0.6))
    canvas.shadow((left, top, right, hem), 4)
    canvas.rect((left, top, right, hem), (240, 234, 222))
    canvas.stripes((left, top, right, hem), 8, 0.5, paints.awning)
    canvas.fade((left, top, right, hem), WHITE, 60)
    canvas.rect((left, hem - line, right, hem), BLACK, 60)


def _goods(canvas: Canvas, glass: Edges, rng: Rng) -> None:
    left, top, right, bottom = glass
    colours = ((190, 80, 60), (70, 110, 140), (220, 200, 150))
    step = (right - left) / 6
    for number, size in enumerate(rng.uniform(0.1, 0.4, 6)):
        start, rise = left + step * (number + 0.15), (bottom - top) * size
        canvas.rect((start, bottom - rise, start + 0.7 * step, bottom), colours[number % 3], 190)


PAINTERS = {
    "facade": _facade,
    "window": _window,
    "blind": _blind,
    "sill": _ledge,
    "cornice": _ledge,
    "molding": _molding,
    "pillar": _pillar,
    "deco": _deco,
    "balcony": _balcony,
    "door": _door,
    "shop": _shop,
}
