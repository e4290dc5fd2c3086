"""The folder of a run."""

import json

from etils import epath
from ml_collections import ConfigDict

from pix2pix_jax import config as config_lib
from pix2pix_jax import parallel
from pix2pix_jax.errors import UserError


def make(workdir: epath.Path) -> None:
    """Creates the folder and its checkpoints/, if need be. Raises UserError if it cannot be written."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "checkpoints").mkdir(exist_ok=True)
    except OSError as error:
        raise _not_written(workdir, error) from error


def write_config(config: ConfigDict, workdir: epath.Path) -> None:
    """Writes config.json, for people: checkpoints hold the config that counts. Raises UserError if it cannot."""
    if not parallel.is_main_process():
        return
    try:
        (workdir / "config.json").write_text(json.dumps(config_lib.to_dict(config), indent=2) + "\n")
    except OSError as error:
        raise _not_written(workdir, error) from error


def _not_written(workdir: epath.Path, error: OSError) -> UserError:
    return UserError(f"{workdir}: cannot be written ({error.strerror}); choose another --workdir")
