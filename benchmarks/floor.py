"""What a step or a picture costs at least: the arithmetic of the convolutions, and what the device gives of it.

    python benchmarks/floor.py --config.batch_size=4    # any config, any of its fields; nothing is measured

A multiplication and an addition are two floating-point operations (training/throughput.py says which count).
"""

import argparse
import collections
from typing import Any

import alternate
import bare
import jax
import jax.numpy as jnp

from pix2pix_jax import config as config_lib
from pix2pix_jax.config import build_model
from pix2pix_jax.runtime import meshes
from pix2pix_jax.training import throughput


def train_step_gflop(config) -> float:
    mesh = meshes.make_mesh(
        batch_size=config.batch_size, accumulate_steps=config.accumulate_steps, devices=jax.devices()[:1]
    )
    return 1e-9 * throughput.count_flops(bare.trace(config, mesh, platform="default").jaxpr)  # a CPU's forms take fewer


def generator_gflop(config) -> float:
    """Of a pass forward over a batch."""
    shape = (config.batch_size, *config.image_size, build_model.network_channels(config)[0])
    generator, image = build_model.build_generator(config), jax.ShapeDtypeStruct(shape, jnp.float32)

    def run(image):
        return generator.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, image)

    return 1e-9 * throughput.count_flops(jax.jit(run).trace(image).jaxpr)


def product(dtype: str, *, side: int, precision: Any = None) -> alternate.Turn:
    """Squares a matrix of side x side: what it reaches is the ceiling of what networks can."""
    matrix = jax.device_put(jnp.ones((side, side), dtype))
    square = jax.jit(lambda x: jnp.matmul(x, x, precision=precision))

    def turn(calls: int) -> None:
        results = collections.deque(maxlen=2)  # more of them would fill the device
        for _ in range(calls):
            results.append(square(matrix))
        jax.block_until_ready(list(results))

    return turn


def side() -> int:
    """Of a matrix that keeps the device busy for about a millisecond (accelerators) or some hundred (CPUs)."""
    return 3072 if jax.default_backend() == "cpu" else 8192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="default")
    arguments, overrides = parser.parse_known_args()
    config = config_lib.load(arguments.config, overrides)
    print(f"generator {generator_gflop(config):.1f} GFLOP forward")
    print(f"train step of {config.batch_size} pairs: {train_step_gflop(config):.1f} GFLOP")


if __name__ == "__main__":
    main()
