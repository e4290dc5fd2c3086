"""Translates the same held-out examples as training goes on, for grids of samples."""

import dataclasses
from concurrent import futures
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2pix_jax.configuration import build_data, build_model
from pix2pix_jax.data.files.value_range import to_float
from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.data.reading import stack
from pix2pix_jax.gan.objective import Metrics
from pix2pix_jax.gan.state import TrainState
from pix2pix_jax.inference import trained_model
from pix2pix_jax.runtime import meshes
from pix2pix_jax.training.callbacks import Callback, due
from pix2pix_jax.training.compiling import in_thread
from pix2pix_jax.training.throughput import Throughput
from pix2pix_jax.workdir.checkpoints import abstract
from pix2pix_jax.workdir.logs import RunLog


class Sampler:
    """Translates the same few held-out examples at each call."""

    def __init__(self, config: ConfigDict, mesh: Mesh, data: Any = None):
        """Opens the examples, of `data` for dataset `given`."""
        pairs = _held_out(config, data)
        examples = [pairs.decode(i) for i in range(min(config.num_samples, len(pairs)))]
        batch = stack(pairs.at_size(i, example) for i, example in enumerate(examples))
        values = build_data.stream_values(config)
        images = {name: np.asarray(to_float(x, values[name])) for name, x in batch.items()}
        ids = trained_model.picture_ids([example["input"] for example in examples], values["input"])
        self._images, self._ids, self._seed = meshes.replicate((images, ids, np.int32(config.seed)), mesh)
        self._input_column = build_data.color_space(config).visible(self._images["input"])
        translate = trained_model.make_translate(config, platform=meshes.platform(mesh))
        self._translate = jax.jit(translate, out_shardings=meshes.replicated(mesh))
        self._config = config
        self._compiled: futures.Future | None = None

    def compile_for(self, state: TrainState) -> None:
        """Begins to compile the generator for states like `state`, in another thread, if that has not begun."""
        if not self._compiled:
            variables, *others = self._arguments(state)
            variables = abstract(variables, jax.tree.map(lambda x: x.sharding, variables))  # the loop overwrites them
            self._compiled = in_thread(lambda: self._translate.lower(variables, *others).compile())

    @property
    def compiling(self) -> bool:
        """Whether the generator is being compiled, beside the steps of the run."""
        return self._compiled is not None and not self._compiled.done()

    def _arguments(self, state: TrainState):
        return build_model.inference_variables(self._config, state), self._images["input"], self._ids, self._seed

    def __call__(self, state: TrainState) -> dict[str, jax.Array]:
        """Returns the columns input, output and target: float32 (N, H, W, C) in [-1, 1]."""
        self.compile_for(state)
        output = self._compiled.result()(*self._arguments(state))
        return {"input": self._input_column, "output": output, "target": self._images["target"]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples(Callback):
    """Logs a grid of samples every `sample_every_steps`, and at the end.

    The generator is compiled beside the steps that follow the first one: nobody waits for samples yet.
    """

    config: ConfigDict
    sampler: Sampler
    start: int
    total: int
    log: RunLog
    speed: Throughput

    def on_step(self, step: int, state: TrainState, metrics: Metrics) -> None:
        if step == self.start + 1:  # which has ended, as its losses have been read
            self.sampler.compile_for(state)
        if self.sampler.compiling:
            self.speed.skip(step + 1)
        if step < self.total and due(step, self.config.sample_every_steps):
            self._draw(step, state)

    def on_end(self, step: int, state: TrainState) -> None:
        self._draw(step, state)

    def _draw(self, step: int, state: TrainState) -> None:
        self.log.samples(step, self.sampler(state))
        self.speed.skip(step + 1)


def _held_out(config: ConfigDict, data: Any) -> PairedDataset:
    """Opens the validation split, or else the test split, or else the training split."""
    for split in ("val", "test"):
        if (pairs := build_data.open_pairs_if_any(config, split, data=data)) is not None:
            return pairs
    return build_data.open_pairs(config, "train", data=data)
