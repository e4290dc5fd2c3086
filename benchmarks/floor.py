"""Counts the arithmetic of a step or an image, and measures how fast the device multiplies matrices.

A multiplication and an addition are two floating-point operations (training/throughput.py says which count).
"""

import collections
from typing import Any

import alternate
import bare
import jax
import jax.numpy as jnp

from pix2pix_jax.configuration import build_model
from pix2pix_jax.runtime import meshes
from pix2pix_jax.training import throughput


def train_step_gflop(config) -> float:
    mesh = meshes.make_mesh(batch_size=config.batch_size, devices=jax.devices()[:1])
    return 1e-9 * throughput.count_flops(bare.trace(config, mesh, platform="default").jaxpr)  # a CPU's forms take fewer


def generator_gflop(config) -> float:
    """Counts a forward pass over a batch."""
    shape = (config.batch_size, *config.image_size, build_model.network_channels(config)[0])
    generator, image = build_model.build_generator(config), jax.ShapeDtypeStruct(shape, jnp.float32)

    def run(image):
        return generator.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, image)

    return 1e-9 * throughput.count_flops(jax.jit(run).trace(image).jaxpr)


def product(dtype: str, *, side: int, precision: Any = None) -> alternate.Turn:
    """Makes a turn that squares a matrix of side x side: its speed is the ceiling of what networks reach."""
    matrix = jax.device_put(jnp.ones((side, side), dtype))
    square = jax.jit(lambda x: jnp.matmul(x, x, precision=precision))

    def turn(calls: int) -> None:
        results = collections.deque(maxlen=2)  # more of them would fill the device
        for _ in range(calls):
            results.append(square(matrix))
        jax.block_until_ready(list(results))

    return turn


def side() -> int:
    """Returns the side of a matrix that takes about a millisecond (accelerators) or some hundred (CPUs)."""
    return 3072 if jax.default_backend() == "cpu" else 8192
