"""Models of random parameters for the tests of exports."""

import jax
import numpy as np
import pytest

from pix2pix_jax import config as config_lib
from pix2pix_jax.config import build_model
from pix2pix_jax.inference import trained_model

SMALL = ("--config.generator.features=8", "--config.generator.num_downs=3", "--config.image_size=32,32")


@pytest.fixture(scope="session")
def random_model():
    """Makes a model: random_model("--config.generator.norm=group", ...); all its parameters and statistics matter."""

    def random_model(*overrides: str) -> trained_model.TrainedModel:
        config = config_lib.load("default", [*SMALL, "--config.inference.dropout=off", *overrides])
        random = np.random.RandomState(0)

        def draw(path, array):
            values = random.standard_normal(array.shape)
            if array.ndim == 4:
                return np.float32(values * 1.5 / np.sqrt(np.prod(array.shape[:3])))  # activations stay near 1
            positive = path[-1].key in ("scale", "var")  # neither 1 for all nor 0 for any
            return np.float32(1 + np.tanh(values) / 2 if positive else values * 0.2)

        variables = jax.tree_util.tree_map_with_path(draw, build_model.abstract_variables(config))
        return trained_model.TrainedModel(config=config, variables=variables, step=3)

    return random_model


@pytest.fixture(scope="session")
def floats():
    """Makes smooth images in [-1, 1], (N, H, W, C)."""

    def floats(*shape: int) -> np.ndarray:
        n, height, width, channels = shape
        values = np.random.RandomState(1).uniform(-1, 1, (n, -(-height // 4), -(-width // 4), channels))
        return values.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width].astype(np.float32)

    return floats
