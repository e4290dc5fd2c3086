"""The paired dataset: an input and a target of one size, by index."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from pix2pix_jax.data.files import images
from pix2pix_jax.data.files.high_bit_depth import height_by_width
from pix2pix_jax.data.files.value_range import fit_range
from pix2pix_jax.data.sources.datasets import Source
from pix2pix_jax.errors import UserError

Example = dict[str, np.ndarray]

# How an image gets its size, under the names of pytorch-CycleGAN-and-pix2pix.
PREPROCESS = ("resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none")
NATIVE = "native"  # each image keeps its own size; for evaluation alone
WINDOWED = ("crop", "scale_width_and_crop")  # those that leave images of several sizes to crop from


@dataclasses.dataclass(frozen=True)
class PairedDataset:
    """Gives examples by index: {"input", "target"}, each (*size, channels) of its dtype; WINDOWED ones may be larger.

    The train step is compiled for one size. So windows of images of several sizes are cut on the host (`window`), and
    where nothing is cropped every image must end at `size`. With an `own_size`, examples are as they lie on disk, and
    batches of that size are left to the device to resize (`device_resizing`).
    """

    source: Source
    direction: str  # "AtoB": A is the input; "BtoA": B is
    size: tuple[int, int]
    input_channels: int = 3
    target_channels: int = 3
    colorize: bool = False  # the input is the target; the networks see its lightness only
    preprocess: str = "resize_and_crop"  # one of PREPROCESS; "resize_and_crop" resizes to `size`
    width: int = 0  # scale_width, scale_width_and_crop: width in pixels of the resized image, proportions are kept
    multiple: int = 1  # scale_width, none: both sides are rounded to the nearest multiple
    centred: bool = False  # take the middle of WINDOWED images, as evaluation does
    input_dtype: str = "uint8"  # uint8 | uint16 | float32, to which files of other dtypes are converted
    target_dtype: str = "uint8"
    input_range: tuple[float, float] | None = None  # see `value_range.fit_range`
    target_range: tuple[float, float] | None = None
    input_interpolation: str = "bicubic"  # see `images.resize`
    target_interpolation: str = "bicubic"
    own_size: tuple[int, int] | None = None  # (H, W) of the uint8 images that the device resizes

    def __len__(self) -> int:
        return len(self.source.names)

    def name(self, index: int) -> str:
        return self.source.names[index]

    @property
    def num_bytes(self) -> int:
        """Returns the bytes of all examples at load size."""
        depths = (self.input_channels, self.input_dtype), (self.target_channels, self.target_dtype)
        return len(self) * math.prod(self.size) * sum(c * np.dtype(dtype).itemsize for c, dtype in depths)

    def sides(self, both: tuple) -> tuple:
        """Turns (of A, of B) into (of the input, of the target), and back."""
        return sides(both, self.direction)

    def __getitem__(self, index: int) -> Example:
        """Decodes and sizes an example. Raises UserError, which names the file, if its size does not fit."""
        return self.decode(index) if self.own_size else self.at_size(index, self.decode(index))

    def at_size(self, index: int, example: Example) -> Example:
        """Sizes `decode(index)` to make `self[index]`."""
        example = self.fit(index, example)
        corner = np.subtract(example["target"].shape[:2], self.size) // 2
        return self._cut(example, corner) if self.centred else example

    def decode(self, index: int) -> Example:
        """Decodes the images at their own size."""
        image, target = self.sides(self.source.pair(index, self.sides((self.input_channels, self.target_channels))))
        name = self.name(index)
        target = fit_range(target, self.target_dtype, self.target_range, name)
        image = target if self.colorize else fit_range(image, self.input_dtype, self.input_range, name)
        return {"input": image, "target": target}

    def fit(self, index: int, example: Example) -> Example:
        """Resizes `decode(index)` to its load size."""
        size = self.load_size(index, example["target"].shape[:2])
        target = images.resize(example["target"], size, self.target_interpolation)
        if self.colorize:
            return {"input": target, "target": target}
        return {"input": images.resize(example["input"], size, self.input_interpolation), "target": target}

    def load_size(self, index: int, own: tuple[int, int]) -> tuple[int, int]:
        """Returns the (H, W) to which example `index`, of size `own`, is resized. Raises UserError for a misfit."""
        if self.preprocess == NATIVE:
            return own
        size = self._load_size(own)
        if all(np.greater_equal(size, self.size)) if self.preprocess in WINDOWED else size == self.size:
            return size
        name = f"{self.name(index)}: {height_by_width(size)} under config.preprocess={self.preprocess}"
        raise UserError(f"{name}, but {self._remedy(size, index)}")

    def finish(
        self, examples: Sequence[Example], *, indices: np.ndarray, seed: int, positions: np.ndarray
    ) -> Sequence[Example]:
        """Makes the examples `self[i]` of `indices` one size; `window` tells what `seed` and the `positions` are."""
        if not self.own_size:
            return [self.window(e, seed=seed, position=int(p)) for e, p in zip(examples, positions, strict=True)]
        if all(x.dtype == np.uint8 and x.shape[:2] == self.own_size for e in examples for x in e.values()):
            return examples
        return [self.fit(int(i), e) for i, e in zip(indices, examples, strict=True)]

    def window(self, example: Example, *, seed: int, position: int) -> Example:
        """Cuts a random window of `size` out of an example `self[i]` that is WINDOWED; returns others whole.

        The window depends on `seed` and `position`, that is step * batch_size + place in the batch, alone.
        """
        if self.preprocess not in WINDOWED:
            return example
        bits = np.random.MT19937(np.random.SeedSequence([seed, position, 1]))  # with 1, unlike example orders
        slack = np.subtract(example["target"].shape[:2], self.size)
        return self._cut(example, np.random.RandomState(bits).randint(slack + 1))

    def _cut(self, example: Example, corner: np.ndarray) -> Example:
        (top, left), (height, width) = corner, self.size
        return {name: image[top : top + height, left : left + width] for name, image in example.items()}

    def _load_size(self, own: tuple[int, int]) -> tuple[int, int]:
        if self.preprocess == "crop":
            return own
        if self.preprocess == "scale_width_and_crop":
            height, width = _scaled(own, self.width)
            return max(height, self.size[0]), width  # as high as the crop, like pytorch-CycleGAN-and-pix2pix
        return whole_size(own, self.preprocess, size=self.size, width=self.width, multiple=self.multiple)

    def _remedy(self, size: tuple[int, int], index: int) -> str:
        """Describes what example `index`, of load size `size`, does not fit, and what to do."""
        expected = f"config.image_size is {height_by_width(self.size)}"
        if self.preprocess in WINDOWED:
            return f"{expected}; make it smaller, or use --config.preprocess=resize_and_crop"
        other = 1 if index == 0 else 0
        if other < len(self) and (other_size := self._load_size(self.source.header(other)[0].size)) != size:
            return (
                f"{self.name(other)} is {height_by_width(other_size)}; all must be alike where nothing is cropped: "
                "use --config.preprocess=resize_and_crop, crop or scale_width_and_crop"
            )
        return f"{expected}; use --config.image_size={size[0]},{size[1]}"


def sides(both: tuple, direction: str) -> tuple:
    """Turns (of A, of B) into (of the input, of the target), and back."""
    return both if direction == "AtoB" else both[::-1]


def whole_size(
    own: tuple[int, int], preprocess: str, *, size: tuple[int, int], width: int, multiple: int
) -> tuple[int, int]:
    """Returns the (H, W) at which a whole image of size `own` is translated: scaled as in training, not cropped.

    That is `size` under "resize_and_crop", and `width` with a height in proportion where `preprocess` scales the width.
    But for `size`, both sides are rounded to the nearest multiple of `multiple`, as the generator needs.
    """
    if preprocess == "resize_and_crop":
        return size
    scaled = _scaled(own, width) if preprocess.startswith("scale_width") else own
    rounded = (max(1, round(side / multiple)) * multiple for side in scaled)
    return tuple(rounded)


def _scaled(own: tuple[int, int], width: int) -> tuple[int, int]:
    return max(1, round(own[0] * width / own[1])), width
