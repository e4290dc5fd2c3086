"""Pairs as the train step takes them: an input and a target of one size, by index."""

import dataclasses

import numpy as np

from pix2pix_jax.data import images
from pix2pix_jax.data.sources import Source


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Examples as the train step takes them: uint8 {"input", "target"}, each (*size, channels), by index."""

    source: Source
    direction: str  # "AtoB": A is the input; "BtoA": B is
    size: tuple[int, int]
    input_channels: int = 3
    target_channels: int = 3
    colorize: bool = False  # the input is the target, of which the networks are to see the lightness only

    def __len__(self) -> int:
        return len(self.source.names)

    def name(self, index: int) -> str:
        return self.source.names[index]

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        channels = (self.input_channels, self.target_channels)
        if self.direction == "AtoB":
            image, target = self.source.pair(index, channels)
        else:
            target, image = self.source.pair(index, channels[::-1])
        target = images.resize(target, self.size)
        return {"input": target if self.colorize else images.resize(image, self.size), "target": target}
