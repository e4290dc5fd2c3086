"""Learning-rate schedules and the Adam pair."""

import jax.numpy as jnp
import optax

SCHEDULES = ("constant", "linear", "step", "cosine")


def make_schedule(
    name: str,
    *,
    learning_rate: float,
    num_periods: int,
    num_examples: int = 1,
    batch_size: int = 1,
    drop_every: int = 50,
) -> optax.Schedule:
    """The learning rate at a step, changed once a period as the popular PyTorch implementation does.

    A period is an epoch, p = step * batch_size // num_examples; by default, for runs whose length is given in steps, it
    is a single step. With N = num_periods:

    - constant: learning_rate.
    - linear: constant for the first half, then to zero: learning_rate * (1 - max(0, p + 1 - N_0) / (N - N_0 + 1)) with
      N_0 = ceil(N / 2); at N = 200 the published 100 + 100 epochs.
    - step: a tenth every `drop_every` periods.
    - cosine: learning_rate * (1 + cos(pi p / N)) / 2.

    Raises:
      ValueError: unknown name.
    """
    constant = num_periods - num_periods // 2

    def linear(p):
        return 1 - jnp.maximum(0, p + 1 - constant) / (num_periods - constant + 1)

    factors = {
        "constant": jnp.ones_like,
        "linear": linear,
        "step": lambda p: 0.1 ** (p // drop_every),
        "cosine": lambda p: 0.5 * (1 + jnp.cos(jnp.pi * p / num_periods)),
    }
    if name not in factors:
        raise ValueError(f"schedule {name!r}: must be one of {', '.join(factors)}")

    def schedule(step):
        # A run lengthened and cut again may ask beyond its end, where the rate must not turn negative or rise again.
        period = jnp.minimum(jnp.asarray(step) * batch_size // num_examples, num_periods)
        return learning_rate * factors[name](period.astype(jnp.float32))

    return schedule


def make_adam(
    schedule: optax.Schedule, *, b1: float = 0.5, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam with the published momenta (Isola et al. 2017, section 3.3)."""
    return optax.adam(schedule, b1=b1, b2=b2, eps=eps)
