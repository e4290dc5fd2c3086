"""What a run consists of, and where it goes on."""

import dataclasses
from typing import Any

from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2pix_jax.configuration import build_model
from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.gan.state import Parts, TrainState
from pix2pix_jax.runtime import meshes
from pix2pix_jax.training.validation import Validator
from pix2pix_jax.workdir.checkpoints import Checkpoints


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Holds the parts of a run that stay the same from its first step to its last."""

    config: ConfigDict
    workdir: epath.Path
    mesh: Mesh
    pairs: PairedDataset
    parts: Parts
    checkpoints: Checkpoints
    validator: Validator | None
    data: Any = None  # the pairs of dataset `given`

    @property
    def platform(self) -> str:
        return meshes.platform(self.mesh)

    @property
    def total(self) -> int:
        """Returns the number of the last step."""
        return build_model.total_steps(self.config, num_examples=len(self.pairs))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """Holds the state after `step` updates, where training starts; for `progress` see `workdir/progress.py`."""

    state: TrainState
    step: int
    progress: dict[str, Any]
