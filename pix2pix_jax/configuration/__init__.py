"""Configs: loaded and checked here; build_model and build_data make the model and the data of one."""

from pix2pix_jax.configuration.files import (
    MAY_CHANGE,
    differences,
    from_dict,
    load,
    make,
    names,
    read,
    to_dict,
    unknown_fields,
)
from pix2pix_jax.configuration.validate import check, choices, flatten

__all__ = [
    "MAY_CHANGE",
    "check",
    "choices",
    "differences",
    "flatten",
    "from_dict",
    "load",
    "make",
    "names",
    "read",
    "to_dict",
    "unknown_fields",
]
