"""Pictures of any program beside their targets, paired by name."""

import numpy as np

from pix2pix_jax.data.files import images, listing
from pix2pix_jax.data.files.high_bit_depth import Header, height_by_width
from pix2pix_jax.data.sources.pairing import pair_files
from pix2pix_jax.data.sources.source import Channels, Source
from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.io import storage


class PictureFiles(Source):
    """Pictures, A, and targets, B, in colour and 8 bits, all of one `size`."""

    places = ("picture", "target")

    def __init__(self, pictures: str, targets: str, inputs: str = ""):
        """Finds the files, and reads their headers.

        Args:
          pictures: a file, a folder or a pattern.
          targets: the same, for the targets.
          inputs: the same, for the inputs of the pictures; "" shows none.

        Raises:
          UserError: no files, one without a partner, or sizes that differ.
        """
        sides = {"--pictures": pictures, "--targets": targets} | ({"--inputs": inputs} if inputs else {})
        listed = {flag: listing.find_files(place, flag) for flag, place in sides.items()}
        self.notes = [f"{flag}: {files.note}" for flag, files in listed.items() if files.note]
        places = [storage.folder(place) for place in sides.values()]
        pairs = pair_files(places, [files.files for files in listed.values()])
        self.names = sorted(pairs, key=listing.natural_key)
        self._files = [pairs[name] for name in self.names]
        self.size = self._check_sizes()

    def _check_sizes(self) -> tuple[int, int]:
        first, size = self._files[0][0], self.header(0)[0].size
        for file in (file for files in self._files for file in files[:2]):
            own = images.read_header(file).size
            if own != size:
                raise UserError(
                    f"{printable(file)}: {height_by_width(own)}, but {printable(first)} has {height_by_width(size)}; "
                    "all must be alike to be compared pixel by pixel: resize one side"
                )
        return size

    def describe(self) -> str:
        return f"{len(self.names)} pictures of {height_by_width(self.size)}"

    def header(self, index: int) -> tuple[Header, Header]:
        return tuple(images.read_header(file) for file in self._files[index][:2])

    def pair(self, index: int, channels: Channels) -> tuple[np.ndarray, np.ndarray]:
        files = zip(self._files[index][:2], channels, strict=True)
        return tuple(images.decode(file, channels=count) for file, count in files)

    def input(self, index: int) -> np.ndarray:
        """Decodes an input: uint8 (H, W, 3), of its own size."""
        return images.decode(self._files[index][2])
