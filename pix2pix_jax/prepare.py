"""Gets a data set ready before a run, and says what is there."""

from ml_collections import ConfigDict
from tqdm import tqdm

from pix2pix_jax import recipe
from pix2pix_jax.data.folders import SPLITS
from pix2pix_jax.errors import UserError
from pix2pix_jax.logs import say


def prepare(config: ConfigDict) -> None:
    """Downloads and builds if need be, decodes every image of every split, and prints what was found.

    Raises:
      UserError: no such data, or a file that cannot be used; its name is in the message.
    """
    for split in SPLITS:
        try:
            pairs = recipe.open_pairs(config, split, size=tuple(config.resize_size))
        except UserError:
            if split == "train":
                raise
            say(f"{split}: none")
            continue
        for index in tqdm(range(len(pairs)), desc=f"check {split}", unit="pair", dynamic_ncols=True):
            pairs[index]
        say(f"{split}: {pairs.source.describe()}")
