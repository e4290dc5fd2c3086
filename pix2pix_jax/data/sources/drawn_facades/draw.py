"""The embedded data set: label maps of building facades and pictures of those same buildings.

A pair is a pure function of (seed, index, size). A random plan lists labelled boxes from back to front. The label map
fills them with the colours of the published facades set, and the picture paints each as what it names. So the labels
determine the picture up to colours and weather, as in a photograph, and a model trained here accepts the label maps of
the published set.
"""

import numpy as np
from PIL import Image, ImageDraw

from pix2pix_jax.data.sources.drawn_facades.paint import paint_photo
from pix2pix_jax.data.sources.drawn_facades.plan import Scene, pixel_box, plan_scene

LABELS: dict[str, tuple[int, int, int]] = {
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
