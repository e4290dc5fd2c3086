"""Initial parameters: normal numbers, which a whole network may draw at once.

XLA takes a third of a second of a CPU's time to compile one draw, and a U-Net and its discriminator have forty.
"""

import contextlib
import contextvars
import math
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class _Draws:
    """Hands out parts of one vector of normal numbers; without one, counts what is asked for."""

    def __init__(self, vector: jax.Array | None = None):
        self.vector = vector
        self.used = 0

    def take(self, shape: tuple[int, ...]) -> jax.Array:
        begin, self.used = self.used, self.used + math.prod(shape)
        return jnp.zeros(shape) if self.vector is None else self.vector[begin : self.used].reshape(shape)


_draws: contextvars.ContextVar[_Draws | None] = contextvars.ContextVar("draws", default=None)


def normal(std: float, mean: float = 0.0) -> nn.initializers.Initializer:
    """Returns an initialiser that draws from N(mean, std), by its key or within `init_at_once`."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        draws = _draws.get()
        noise = jax.random.normal(key, shape) if draws is None else draws.take(shape)
        return (mean + std * noise).astype(dtype)

    return init


def init_at_once(module: nn.Module, key: jax.Array, *inputs: jax.Array, **options: Any) -> Mapping[str, Any]:
    """Initialises a network as `module.init` does, but draws all that its `normal` initialisers need at once.

    Args:
      module: the network, whose initialisers are given parts of the draw in the order in which its layers ask.
      key: draws them.
      *inputs: images (N, H, W, C), as of a call of the network.
      **options: other arguments of such a call.

    Returns:
      Its variables, `params` and `batch_stats`, of the shapes and distributions that `module.init` gives, float32.

    Raises:
      ValueError: the network cannot take such inputs.
    """
    with _drawing(_Draws()) as counted:
        jax.eval_shape(lambda: module.init(key, *inputs, **options))
    with _drawing(_Draws(jax.random.normal(key, (counted.used,)))):
        return module.init(key, *inputs, **options)


def shapes_only() -> contextlib.AbstractContextManager:
    """Has `normal` initialisers draw nothing within it.

    Flax calls those of parameters that a network is given, to compare shapes, and a U-Net's draws take long to trace.
    """
    return _drawing(_Draws())


@contextlib.contextmanager
def _drawing(draws: _Draws) -> Iterator[_Draws]:
    token = _draws.set(draws)
    try:
        yield draws
    finally:
        _draws.reset(token)
