"""Registers the TFDS dataset `pix2pix`."""

# Relative, because `tfds build` imports this folder by itself, as the package `pix2pix`.
from .pix2pix_dataset_builder import Builder
from .published import PublishedSet

__all__ = ["Builder", "PublishedSet"]
