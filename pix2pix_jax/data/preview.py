"""Draws a picture of a few pairs, labelled so that a mix-up of input and target is seen at once."""

from collections.abc import Mapping

import numpy as np
from etils import epath
from PIL import Image, ImageDraw, ImageFont

from pix2pix_jax.data.files.images import encode, to_pillow
from pix2pix_jax.data.files.value_range import ValueRange, render, to_float
from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.errors import UserError, printable

_ROWS = 6
_HEIGHT = 192  # of a picture, in pixels
_GAP, _LINE, _TITLE = 6, 16, 26


def write(path: epath.Path, pairs: PairedDataset, values: Mapping[str, ValueRange]) -> None:
    """Writes a PNG of up to six pairs, spread over the split: a row for each, the input left and the target right.

    Raises:
      UserError: the file cannot be written.
    """
    chosen = np.unique(np.linspace(0, len(pairs) - 1, _ROWS).round().astype(int)).tolist()
    rows = [[_picture(image, values[name]) for name, image in pairs[i].items()] for i in chosen]
    width, height = rows[0][0].size
    size = (max(2 * (width + _GAP) + _GAP, 420), _TITLE + len(rows) * (height + _LINE + _GAP))
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    letters = [f"{letter} ({place})" for letter, place in zip("AB", pairs.source.places, strict=True)]
    for column, title in enumerate(zip(("input", "target"), pairs.sides(tuple(letters)), strict=True)):
        _text(draw, (_GAP + column * (width + _GAP), 4), " = ".join(title), size=14)
    for row, (index, pictures) in enumerate(zip(chosen, rows, strict=True)):
        top = _TITLE + row * (height + _LINE + _GAP)
        _text(draw, (_GAP, top), pairs.name(index), size=11)
        for column, picture in enumerate(pictures):
            canvas.paste(picture, (_GAP + column * (width + _GAP), top + _LINE))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(np.asarray(canvas), ".png"))
    except OSError as error:
        raise UserError(f"{printable(path)}: cannot be written ({error.strerror}); choose another --output") from error


def _picture(image: np.ndarray, values: ValueRange) -> Image.Image:
    """Renders a stored image, at most _HEIGHT high and twice as wide."""
    picture = to_pillow(render(to_float(image, values))).convert("RGB")
    picture.thumbnail((2 * _HEIGHT, _HEIGHT))
    return picture


def _text(draw: ImageDraw.ImageDraw, position: tuple[int, int], text: str, *, size: int) -> None:
    text = text if text.isascii() else ascii(text)[1:-1]  # Pillow's own font knows few letters
    draw.text(position, text, fill="black", font=ImageFont.load_default(size))
