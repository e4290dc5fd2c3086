"""Sample grids: what the generator makes of the same held-out examples as training goes on."""

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2pix_jax import inference, parallel, recipe, streams
from pix2pix_jax.data import color
from pix2pix_jax.data.pairs import Pairs
from pix2pix_jax.data.reading import stack
from pix2pix_jax.data.values import to_float
from pix2pix_jax.state import TrainState


class Sampler:
    """Translates the same few held-out examples whenever it is called."""

    def __init__(self, config: ConfigDict, mesh: Mesh, state: TrainState):
        pairs = _held_out(config)
        given = [pairs.decode(i) for i in range(min(config.num_samples, len(pairs)))]
        batch = stack(pairs.at_size(i, example) for i, example in enumerate(given))
        values = streams.stream_values(config)
        images = {name: np.asarray(to_float(x, values[name])) for name, x in batch.items()}
        ids = inference.picture_ids([example["input"] for example in given], values["input"])
        self._ids = parallel.replicate(ids, mesh)
        self._images = parallel.replicate(images, mesh)
        self._shown = color.grey(self._images["input"]) if config.color_space == "lab" else self._images["input"]
        self._seed = parallel.replicate(np.int32(config.seed), mesh)
        translate = inference.make_translate(config, platform=parallel.platform(mesh))
        translate = jax.jit(translate, out_shardings=parallel.replicated(mesh))
        self._config = config
        self._translate = translate.lower(*self._arguments(state)).compile()

    def _arguments(self, state: TrainState):
        return recipe.inference_variables(self._config, state), self._images["input"], self._ids, self._seed

    def __call__(self, state: TrainState) -> dict[str, jax.Array]:
        """Columns input, output and target: float32 (N, H, W, C) in [-1, 1]."""
        output = self._translate(*self._arguments(state))
        return {"input": self._shown, "output": output, "target": self._images["target"]}


def _held_out(config: ConfigDict) -> Pairs:
    """`val`, or `test` where there is none, or else the training split."""
    for split in ("val", "test"):
        if (pairs := streams.open_pairs_if_any(config, split)) is not None:
            return pairs
    return streams.open_pairs(config, "train")
