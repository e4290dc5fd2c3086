"""What a step or a picture costs at least: the arithmetic of the convolutions, and what the device gives of it.

    python benchmarks/floor.py --config.batch_size=4    # any config, any of its fields; nothing is measured

A multiplication and an addition are two floating-point operations. What convolutions multiply of their zero padding is
not counted, nor are norms, activations and Adam, whose cost is memory's. What the ResNet multiplies of its reflected
padding is not either, so of that the count is some per cent too low.
"""

import argparse
import collections
from typing import Any

import alternate
import checkout  # noqa: F401, by which pix2pix_jax is found
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from pix2pix_jax import config as config_lib
from pix2pix_jax import recipe


def train_step_gflop(config) -> float:
    """Of one train step: passes of the networks forward, and back to parameters and inputs where those are needed.

    The generator's picture is made once. The discriminator sees it and the target to learn, and it once more to teach
    the generator; by then its own parameters need no gradient.
    """
    _check(config)
    g, d = generator_gflops(config), _discriminator_gflops(config)
    g_step = 3 * sum(g) - g[0]  # no gradient reaches the input image
    d_step = 2 * (3 * sum(d) - d[0]) if config.gan_weight else 0
    return g_step + d_step + (2 * sum(d) if config.gan_weight else 0)


def generator_gflops(config) -> list[float]:
    """Of each convolution of the generator, a pass forward over a batch."""
    size = (config.batch_size, *config.image_size)
    image = jax.ShapeDtypeStruct((*size, recipe.network_channels(config)[0]), jnp.float32)
    return _convolutions(recipe.build_generator(config), image)


def _discriminator_gflops(config) -> list[float]:
    size = (config.batch_size, *config.image_size)
    image, target = (jax.ShapeDtypeStruct((*size, n), jnp.float32) for n in recipe.network_channels(config))
    return _convolutions(recipe.build_discriminator(config), image, target)


def _check(config) -> None:
    """Of other steps the passes are others."""
    known = config.accumulate_steps == 1 and config.gan_loss != "wgan-gp" and not (config.r1_weight or config.remat)
    if not known:
        raise NotImplementedError("accumulate_steps, remat and penalties of gradients have passes that are not counted")


def _convolutions(network: nn.Module, *images: jax.ShapeDtypeStruct) -> list[float]:
    """GFLOP of each module that has a 4-dimensional kernel, in the order of their calls."""
    found = []

    def note(call, args, kwargs, context):
        y = call(*args, **kwargs)
        kernel = context.module.variables.get("params", {}).get("kernel")
        if context.method_name == "__call__" and kernel is not None and kernel.ndim == 4:
            found.append(_gflop(args[0].shape, y.shape, kernel.shape))
        return y

    def run(*images):
        with nn.intercept_methods(note):
            return network.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, *images)

    jax.eval_shape(run, *images)
    return found


def _gflop(x: tuple[int, ...], y: tuple[int, ...], kernel: tuple[int, ...]) -> float:
    """Of a convolution of padding 1 (of 1x1, 0) from shape `x` to `y`, or of the transpose of one."""
    large, small = (x, y) if x[1] >= y[1] else (y, x)
    taps = 1
    for axis in (1, 2):
        size, stride = kernel[axis - 1], round(large[axis] / small[axis])
        first = stride * np.arange(small[axis])[:, None] - (size > 1)
        taps *= int(((first + np.arange(size) >= 0) & (first + np.arange(size) < large[axis])).sum())
    return 2e-9 * x[0] * taps * kernel[2] * kernel[3]


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
    forward = sum(generator_gflops(config)), sum(_discriminator_gflops(config))
    print(f"generator {forward[0]:.1f} GFLOP forward, discriminator {forward[1]:.1f} a pass")
    print(f"train step of {config.batch_size} pairs: {train_step_gflop(config):.1f} GFLOP")


if __name__ == "__main__":
    main()
