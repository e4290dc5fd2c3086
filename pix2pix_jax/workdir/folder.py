"""Creates the folder of a run, and writes its config."""

import contextlib
import json
from collections.abc import Iterator

from etils import epath
from ml_collections import ConfigDict

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.errors import UserError
from pix2pix_jax.io import storage
from pix2pix_jax.runtime import distributed


def make(workdir: epath.Path) -> None:
    """Creates the folder and its checkpoints/ if need be, and removes half-written files of a killed run."""
    with writing():
        storage.make_folder(workdir / "checkpoints")
        if distributed.is_main_process():
            storage.sweep(workdir)
            storage.sweep(workdir / "samples")


def write_config(config: ConfigDict, workdir: epath.Path) -> None:
    """Writes config.json for people to read; programs read the config in checkpoints. Raises NotWrittenError."""
    text = json.dumps(config_lib.to_dict(config), indent=2) + "\n"
    if distributed.is_main_process():
        with writing():
            storage.write(workdir / "config.json", text.encode())


class NotWrittenError(UserError):
    """Names a file of the workdir that cannot be written."""


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Turns an OSError of the `with` block into a NotWrittenError."""
    try:
        yield
    except OSError as error:
        raise NotWrittenError(
            f"{error.filename}: cannot be written ({error.strerror}); make room or choose another --workdir"
        ) from error
