"""Opens the tracker that `config.log_to` names. Each is imported only where it is asked for."""

import importlib.util
import secrets
from collections.abc import Mapping
from typing import Any, Protocol

from etils import epath

from pix2pix_jax.errors import UserError
from pix2pix_jax.io import storage

_ID_FILE = "tracker-id"  # names the run to a tracker, for a resumed run to go on in it


class Tracker(Protocol):
    """Takes what TensorBoard's event files take too."""

    def scalars(self, step: int, values: Mapping[str, float], now: float) -> None: ...

    def image(self, step: int, name: str, png: bytes, *, size: tuple[int, int]) -> None: ...

    def close(self) -> None: ...


def check(name: str) -> None:
    """Raises UserError if a tracker's package is not installed."""
    if name != "none" and importlib.util.find_spec(name) is None:
        raise UserError(f"config.log_to: {name} is not installed; pip install {name}, or --config.log_to=none")


def open_trackers(name: str, workdir: epath.Path, fields: Mapping[str, Any]) -> list[Tracker]:
    """Opens the tracker `name`, one of wandb and trackio, for the run of a workdir; none for "none".

    Its `fields` are those of the config, as {"batch_size": 1, ...}.
    """
    if name == "wandb":
        from pix2pix_jax.workdir.wandb_tracker import WandbTracker as Opened
    elif name == "trackio":
        from pix2pix_jax.workdir.trackio_tracker import TrackioTracker as Opened
    else:
        return []
    return [Opened(workdir, run_id=_run_id(workdir), fields=fields)]


def _run_id(workdir: epath.Path) -> str:
    """Returns the id of a workdir's run; a new one at its first start."""
    path = workdir / _ID_FILE
    if not (content := storage.read(path)):
        content = secrets.token_hex(4).encode()
        storage.write(path, content)
    return content.decode()
