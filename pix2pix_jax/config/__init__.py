"""From a config's name or file to a checked ConfigDict, and from that to the parts of a run."""

from pix2pix_jax.config.files import MAY_CHANGE, differences, from_dict, load, names, read, to_dict, unknown_fields
from pix2pix_jax.config.validate import check, flatten

__all__ = [
    "MAY_CHANGE",
    "check",
    "differences",
    "flatten",
    "from_dict",
    "load",
    "names",
    "read",
    "to_dict",
    "unknown_fields",
]
