"""Learning-rate schedules and the Adam pair."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pix2pix_jax.errors import check_bounds, check_choice


def _linear(p, n, drop_every, xp):
    constant = n - n // 2
    return 1 - xp.maximum(0, p + 1 - constant) / (n - constant + 1)


# name -> f(p, num_periods, drop_every, numpy or jax.numpy): factor of the learning rate in period p
SCHEDULES: dict[str, Callable[[Any, int, int, Any], Any]] = {
    "constant": lambda p, n, drop_every, xp: xp.ones_like(p),
    "linear": _linear,
    "step": lambda p, n, drop_every, xp: 0.1 ** (p // drop_every),
    "cosine": lambda p, n, drop_every, xp: 0.5 * (1 + xp.cos(xp.pi * p / n)),
}


def make_schedule(
    name: str,
    *,
    learning_rate: float,
    num_periods: int,
    num_examples: int = 1,
    batch_size: int = 1,
    drop_every: int = 50,
) -> optax.Schedule:
    """Builds a learning rate that changes once a period, as in pytorch-CycleGAN-and-pix2pix.

    A period is an epoch, p = step * batch_size // num_examples. With the default `num_examples` and `batch_size`, for
    runs whose length is given in steps, a period is a step. With N = num_periods:

    - constant: learning_rate.
    - linear: constant for the first half, then to zero: learning_rate * (1 - max(0, p + 1 - N_0) / (N - N_0 + 1)) with
      N_0 = ceil(N / 2); at N = 200 the published 100 + 100 epochs.
    - step: a tenth every `drop_every` periods.
    - cosine: learning_rate * (1 + cos(pi p / N)) / 2.

    A step that is no array of JAX, such as an int, gives the rate as a NumPy float, without any device.

    Raises:
      ValueError: unknown name or negative rate; the message begins with the config's field.
    """
    check_choice("schedule", name, SCHEDULES)
    check_bounds("learning_rate", learning_rate, 0)

    def schedule(step):
        xp = jnp if isinstance(step, jax.Array) else np
        # A run lengthened and cut again may ask beyond its end, where the rate must not turn negative or rise again.
        period = xp.minimum(xp.asarray(step) * batch_size // num_examples, num_periods)
        return learning_rate * SCHEDULES[name](period.astype(xp.float32), num_periods, drop_every, xp)

    return schedule


def make_adam(
    schedule: optax.Schedule, *, b1: float = 0.5, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Builds Adam; the default momenta are the published ones (Isola et al. 2017, section 3.3).

    Raises:
      ValueError: a value cannot be used; the message begins with its name.
    """
    check_bounds("b1", b1, 0, below=1)
    check_bounds("b2", b2, 0, below=1)
    if not eps > 0:  # it prevents 0 / 0, for gradients of 0
        raise ValueError(f"eps: {eps}; must be above 0, as 1e-08")
    return optax.chain(_scale_by_adam(b1, b2, eps), optax.scale_by_learning_rate(schedule))


def _scale_by_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Builds `optax.scale_by_adam`, state and all, as arithmetic that takes one pass over memory on a CPU.

    Optax computes the update from the new moments. XLA keeps those in memory, and reads them in a second pass. Here the
    update has its bias-corrected moments from the old ones and the gradient, so one kernel can write all three arrays.
    """

    @jax.jit  # makes JAX trace it once for all arrays of a shape
    def update_array(g, m, v, correct1, correct2):
        corrected = (b1 * correct1) * m + ((1 - b1) * correct1) * g
        scaled = corrected / (jnp.sqrt((b2 * correct2) * v + ((1 - b2) * correct2) * (g * g)) + eps)
        # No g * g for the second moment, or XLA keeps it.
        return scaled, b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g

    def update(updates, state, params=None):
        del params
        count = optax.safe_increment(state.count)
        corrections = [1 / (1 - b ** jnp.asarray(count, jnp.float32)) for b in (b1, b2)]
        updated = jax.tree.map(lambda *arrays: update_array(*arrays, *corrections), updates, state.mu, state.nu)
        scaled, mu, nu = jax.tree.transpose(jax.tree.structure(updates), None, updated)
        return scaled, optax.ScaleByAdamState(count=jnp.asarray(count), mu=mu, nu=nu)

    return optax.GradientTransformation(optax.scale_by_adam().init, update)


def freeze(optimizer: optax.GradientTransformation, is_frozen: Callable[[str], bool]) -> optax.GradientTransformation:
    """Builds an optimiser that leaves some layers as they are, and keeps no moments of them.

    Args:
      optimizer: of the other layers.
      is_frozen: says of the name of a layer, the first part of the path of its parameters, whether it stays.
    """

    def labels(params: dict) -> dict:
        label = {layer: "frozen" if is_frozen(layer) else "trained" for layer in params}
        return {layer: jax.tree.map(lambda _: label[layer], params[layer]) for layer in params}  # noqa: B023

    return optax.multi_transform({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)
