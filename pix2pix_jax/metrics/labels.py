"""Scores label maps, where the class of a pixel is that of the nearest colour of a palette."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from pix2pix_jax.data.sources.drawn_facades.draw import LABELS
from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.metrics.names import LABEL_SCORES

FAR = 32.0  # of 255: noise leaves pixels nearer than this to a colour of the palette
_MAX_CLASSES, _MAX_FILE = 256, 2**20
# Largest share of FAR pixels in a label map that fits: resizing mixes colours at borders. The published facades have
# 19 %, at 64 pixels 24 %.
_MOST_FAR = 0.4


@dataclasses.dataclass(frozen=True)
class Palette:
    """Holds the colours of classes."""

    name: str  # in messages
    colours: dict[str, tuple[int, int, int]]  # class -> (red, green, blue), each from 0 to 255
    void: tuple[tuple[int, int, int], ...] = ()  # of the targets' pixels that belong to no class and are not counted

    def __len__(self) -> int:
        return len(self.colours)

    def classes(self, pictures: jax.Array, *, with_void: bool = False) -> jax.Array:
        """Maps uint8 (N, H, W, 1 or 3) to class numbers, int32 (N, H, W); with void, len(self) and above are none."""
        return self._nearest(pictures, self.void if with_void else ())[0]

    def far(self, pictures: jax.Array) -> jax.Array:
        """Computes the share of pixels that are FAR from all colours, uint8 (N, H, W, 1 or 3) -> (N,)."""
        return (self._nearest(pictures, self.void)[1] > FAR**2).mean((1, 2))

    def _nearest(self, pictures: jax.Array, void: Sequence[tuple[int, int, int]]) -> tuple[jax.Array, jax.Array]:
        """Returns each pixel's (number of the nearest colour, squared distance); the first of equally near ones."""
        pixels = pictures.astype(jnp.int32)
        best = jnp.zeros(pixels.shape[:3], jnp.int32)
        least = jnp.full(pixels.shape[:3], jnp.iinfo(jnp.int32).max)
        for number, colour in enumerate((*self.colours.values(), *void)):  # all at once would take much memory
            distance = jnp.square(pixels - np.int32(colour).reshape(1, 1, 1, 3)).sum(-1)
            best, least = jnp.where(distance < least, number, best), jnp.minimum(distance, least)
        return best, least


def confusion(predicted: jax.Array, truth: jax.Array, num_classes: int) -> jax.Array:
    """Counts pixels by class: class numbers (N, H, W) twice -> int32 (N, truth, predicted).

    Pixels whose true class is `num_classes` or above are left out.
    """

    def count(predicted: jax.Array, truth: jax.Array) -> jax.Array:
        cell = jnp.where(truth < num_classes, truth * num_classes + predicted, num_classes**2)
        return jnp.bincount(cell.ravel(), length=num_classes**2 + 1)[:-1].reshape(num_classes, num_classes)

    return jax.vmap(count)(predicted, truth)


def scores(confusion: np.ndarray) -> dict[str, float]:
    """Computes the scores of a whole set, as Long et al. (2015) define them and the pix2pix paper reports them.

    `confusion` has the counts of pixels, integer (truth, predicted), summed over all images.

    Returns:
      pixel_accuracy: the share of pixels that are right.
      class_accuracy: the mean over classes of the share of their pixels that are right.
      mean_iou: the mean over classes of intersection over union.
      Neither mean includes classes that do not occur. Where none occurs, all three are NaN.
    """
    counts = np.asarray(confusion, np.float64)
    right, truth, predicted = np.diag(counts), counts.sum(1), counts.sum(0)
    union = truth + predicted - right
    if not truth.any():
        return dict.fromkeys(LABEL_SCORES, np.nan)
    return {
        "pixel_accuracy": float(right.sum() / counts.sum()),
        "class_accuracy": float((right[truth > 0] / truth[truth > 0]).mean()),
        "mean_iou": float((right[union > 0] / union[union > 0]).mean()),
    }


def find(name: str) -> Palette:
    """Returns the palette of a name in PALETTES or a .json file {"CLASS": [R, G, B], ..., "void": [[R, G, B], ...]}.

    Raises UserError if `name` is neither, or the file is no palette.
    """
    if name in PALETTES:
        return PALETTES[name]
    path = pathlib.Path(name)
    if path.suffix != ".json" or not path.is_file():
        raise UserError(f"--palette={name}: neither {', '.join(PALETTES)} nor a .json file with each class's colour")
    try:
        colours = json.loads(path.read_bytes()[:_MAX_FILE])
        void = tuple(_colour(c) for c in colours.pop("void", ()))
        palette = Palette(path.name, {str(c): _colour(rgb) for c, rgb in colours.items()}, void)
    except (ValueError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise UserError(f'--palette={name}: not {{"CLASS": [R, G, B], ...}} ({printable(str(error), 150)})') from error
    if not 2 <= len(palette) <= _MAX_CLASSES or len({*palette.colours.values(), *void}) < len(palette) + len(void):
        raise UserError(f"--palette={name}: needs 2 to {_MAX_CLASSES} classes, each of a colour of its own")
    return palette


def _colour(values: Sequence[int]) -> tuple[int, int, int]:
    red, green, blue = values
    if not all(isinstance(value, int) and 0 <= value <= 255 for value in values):
        raise ValueError(f"{values}: a colour is three integers from 0 to 255")
    return red, green, blue


def misfit(palette: Palette, label_maps: np.ndarray) -> str:
    """Returns the reason why a palette does not fit label maps, uint8 (N, H, W, 1 or 3); "" if it does."""
    far = float(palette.far(label_maps).mean())
    if far <= _MOST_FAR:
        return ""
    reason = f"{far:.0%} of their pixels are farther than {FAR:.0f} (of 255) from any of its colours"
    return f"--palette={palette.name} does not fit the label maps: {reason}; choose another, or none"


_CITYSCAPES = Palette(
    name="cityscapes",
    colours={  # the 19 classes of evaluation, in the order of Cityscapes' training numbers (Cordts et al. 2016)
        "road": (128, 64, 128),
        "sidewalk": (244, 35, 232),
        "building": (70, 70, 70),
        "wall": (102, 102, 156),
        "fence": (190, 153, 153),
        "pole": (153, 153, 153),
        "traffic light": (250, 170, 30),
        "traffic sign": (220, 220, 0),
        "vegetation": (107, 142, 35),
        "terrain": (152, 251, 152),
        "sky": (70, 130, 180),
        "person": (220, 20, 60),
        "rider": (255, 0, 0),
        "car": (0, 0, 142),
        "truck": (0, 0, 70),
        "bus": (0, 60, 100),
        "train": (0, 80, 100),
        "motorcycle": (0, 0, 230),
        "bicycle": (119, 11, 32),
    },
    # Unlabelled, dynamic, ground, parking, rail track, bridge, tunnel. Caravans, trailers and guard rails are missing:
    # their colours are so near to a class's that noise would confuse them.
    void=(
        *((0, 0, 0), (111, 74, 0), (81, 0, 81), (250, 170, 160)),
        *((230, 150, 140), (150, 100, 100), (150, 120, 90)),
    ),
)
PALETTES = {"facades": Palette("facades", LABELS), "cityscapes": _CITYSCAPES}
