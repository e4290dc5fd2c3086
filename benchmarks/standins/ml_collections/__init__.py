"""Stands in for ml_collections; see README.md."""

from ml_collections import config_dict, config_flags
from ml_collections.config_dict import ConfigDict

__all__ = ["ConfigDict", "config_dict", "config_flags"]
