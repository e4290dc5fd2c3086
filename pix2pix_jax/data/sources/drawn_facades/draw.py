"""The embedded data set: label maps of building facades and pictures of those same buildings.

A pair is a pure function of (seed, index, size). A random plan lists labelled boxes from back to front. The label map
fills them with the colours of the published facades set, and the picture paints each as what it names. So the labels
determine the picture up to colours and weather, as in a photograph, and a model trained here accepts the label maps of
the published set.

Random numbers (colours, clouds, lit windows) are drawn in an order that no size changes; only the final grain is drawn
per pixel.
"""

import numpy as np
from PIL import Image, ImageDraw

from pix2pix_jax.data.sources.drawn_facades.canvas import BLACK, OVERSAMPLING, Canvas, Colour, mix, shade
from pix2pix_jax.data.sources.drawn_facades.parts import PAINTERS
from pix2pix_jax.data.sources.drawn_facades.plan import GRID, Building, Rng, Scene, pixel_box, plan_scene
from pix2pix_jax.data.sources.drawn_facades.styles import SKIES, Paints, Sky

LABELS: dict[str, Colour] = {
    "background": (0, 0, 223),
    "facade": (0, 48, 255),
    "window": (0, 128, 255),
    "door": (0, 207, 255),
    "cornice": (32, 255, 223),
    "sill": (112, 255, 143),
    "balcony": (192, 255, 64),
    "blind": (255, 239, 0),
    "deco": (255, 159, 0),
    "molding": (255, 80, 0),
    "pillar": (255, 0, 0),
    "shop": (175, 0, 0),
}


def draw_pair(seed: int, index: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draws example `index` of the data set that `seed` names.

    The building is the same at every size; only the grain of the picture differs.

    Args:
      seed: data set, >= 0; splits differ in their seeds.
      index: example, >= 0.
      size: (H, W) in pixels, each at least 32, of any aspect.

    Returns:
      (photo, labels): uint8 (H, W, 3) each; labels holds the colours of `LABELS` and no others.

    Raises:
      ValueError: a side below 32, or a negative seed or index.
    """
    if min(size) < 32:
        raise ValueError(f"drawn_facades: size {tuple(size)} has a side below 32 pixels")
    plan_rng, paint_rng = np.random.default_rng([seed, index]).spawn(2)
    scene = plan_scene(plan_rng)
    return paint_photo(scene, size, paint_rng), paint_labels(scene, size)


def paint_labels(scene: Scene, size: tuple[int, int]) -> np.ndarray:
    """Fills the boxes of `scene` with their labels' colours: uint8 (H, W, 3)."""
    height, width = size
    image = Image.new("RGB", (width, height), LABELS["background"])
    draw = ImageDraw.Draw(image)
    for building in scene.buildings:
        for part in building.parts:
            left, top, right, bottom = pixel_box(part.box, size)
            draw.rectangle((left, top, right - 1, bottom - 1), LABELS[part.label])
    return np.array(image)


def paint_photo(scene: Scene, size: tuple[int, int], rng: Rng) -> np.ndarray:
    """Paints `scene` at `size` (H, W): uint8 (H, W, 3)."""
    canvas = Canvas(size)
    sky = SKIES[rng.choice(len(SKIES), p=(0.8, 0.15, 0.05))]
    _paint_sky(canvas, sky, rng)
    _paint_neighbours(canvas, scene, sky, rng)
    for building in scene.buildings:
        paints = Paints(building.style, sky, rng)
        _paint_roof(canvas, building)
        for part in building.parts:
            PAINTERS[part.label](canvas, canvas.box(part.box), part.look, paints, rng)
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
    """Draws smooth noise of unit variance: float32, `size` (W, H), with `shape` (rows, columns) knots."""
    knots = Image.fromarray(rng.standard_normal(shape, np.float32))
    return np.asarray(knots.resize(size, Image.Resampling.BICUBIC))


def _paint_sky(canvas: Canvas, sky: Sky, rng: Rng) -> None:
    """Paints a vertical gradient and clouds: noise of two scales, wider than high."""
    noise = _clouding(rng, (10, 4), (32, 64)) + 0.5 * _clouding(rng, (22, 9), (32, 64))
    cover = np.clip(noise * 0.8 - 0.1, 0, 0.8)[..., None]
    height = np.clip(np.linspace(0, 1.6, 64), 0, 1)[:, None, None]
    clear = np.multiply(1 - height, sky.zenith) + np.multiply(height, sky.horizon)
    pixels = (clear * (1 - cover) + np.multiply(cover, sky.cloud)).astype(np.uint8)
    size = (canvas.width, canvas.height)
    canvas.image.paste(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def _paint_neighbours(canvas: Canvas, scene: Scene, sky: Sky, rng: Rng) -> None:
    """Paints the visible parts of the houses next door, paler for being further back."""
    for left, right in (0, scene.buildings[0].box[0]), (scene.buildings[-1].box[2], GRID):
        top, wall = rng.uniform(19.2, 25.6), mix((150, 132, 116), sky.horizon, rng.uniform(0.2, 0.5))
        if left < right:
            canvas.rect(canvas.box((left, top, right, GRID)), wall)
            canvas.rect(canvas.box((left, top, right, top + 1.024)), shade(wall, 0.75))
            middle, half = (left + right) / 2, (right - left) / 5
            for y in np.arange(top + 3.84, 57.6, 8.32):
                canvas.rect(canvas.box((middle - half, y, middle + half, y + 4.48)), shade(wall, 0.6))


def _paint_street(canvas: Canvas, scene: Scene) -> None:
    """Paints a pavement of slabs, its kerb and the road."""
    _, top, _, _ = canvas.box((0, scene.street, GRID, GRID))
    kerb = top + (canvas.height - top) * 0.45
    canvas.rect((0, top, canvas.width, kerb), (172, 166, 158))
    canvas.stripes((0, top, canvas.width, kerb), 10, 0.05, (140, 134, 128))
    canvas.rect((0, kerb, canvas.width, canvas.height), (92, 92, 96))
    canvas.rect((0, kerb, canvas.width, kerb + canvas.px(1)), (206, 202, 196))
    canvas.fade((0, top, canvas.width, top + canvas.px(4)), BLACK, 110)


def _paint_roof(canvas: Canvas, building: Building) -> None:
    """Paints a pitched roof with its rows of tiles and two chimneys, or nothing if the roof is flat."""
    left, top, right, _ = canvas.box(building.box)
    ridge = round(building.ridge * canvas.height / GRID)
    if ridge >= top:
        return
    for x in (0.22, 0.74):
        start, cap = left + (right - left) * x, ridge - canvas.px(5)
        canvas.rect((start, cap, start + canvas.px(6), top), (156, 98, 78))
        canvas.rect((start, cap, start + canvas.px(6), cap + canvas.px(1.5)), (100, 74, 64))
    slope = (top - ridge) * 0.45
    outline = [(left, top), (left + slope, ridge), (right - slope - 1, ridge), (right - 1, top)]
    canvas.draw.polygon(outline, building.style.roof)
    for y in np.arange(ridge, top, 2 * canvas.unit):
        inset = slope * (top - y) / (top - ridge)
        canvas.rect((left + inset, y, right - inset, y + canvas.px(0.7)), shade(building.style.roof, 0.8))
