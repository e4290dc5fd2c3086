"""What an exported file says of itself, in words and as its config."""

from importlib import metadata
from typing import Any

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.configuration import build_data
from pix2pix_jax.inference.trained_model import TrainedModel

VERSION = metadata.version("pix2pix_jax")
LICENCE = (
    "Written by pix2pix_jax. Its licence (Apache-2.0) does not cover these parameters: whoever trained them, and the "
    "licence of the images that they were trained on, say what may be done with them."
)


def of_model(model: TrainedModel) -> dict[str, Any]:
    """Returns a JSON object that any file may hold, as docs/export.md lists it.

    The config is without the places on disk that a file for others should not name.
    """
    values = config_lib.to_dict(model.config) | {"data_dir": "", "data_url": "", "init_from": "", "freeze": ""}
    if values["palette"].endswith(".json"):
        values["palette"] = "auto"
    return {
        "config": values,
        "step": model.step,
        "image_size": list(model.config.image_size),
        "size_multiple": build_data.size_multiple(model.config),
        "version": VERSION,
        "licence": LICENCE,
    }
