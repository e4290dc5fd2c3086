"""The train state: all that a run carries from one step to the next."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from pix2pix_jax.runtime import meshes


class NetworkState(flax.struct.PyTreeNode):
    """One network's share: `params`, `batch_stats` ({} without BatchNorm) and Adam's `opt_state`; all float32."""

    params: Any
    batch_stats: Any
    opt_state: Any

    def __repr__(self) -> str:
        """One line: the arrays that the dataclass's own would print are not for reading."""
        return f"NetworkState({count_parameters(self.params):,} parameters)"

    @property
    def variables(self) -> dict[str, Any]:
        return {"params": self.params, "batch_stats": self.batch_stats}


class TrainState(flax.struct.PyTreeNode):
    """`step` is the number of updates done, an int32 scalar; it is also the position in the data.

    `ema` is the moving average of the generator's params, {} where none is kept.
    """

    step: jax.Array
    generator: NetworkState
    discriminator: NetworkState
    ema: Any = flax.struct.field(default_factory=dict)

    def __repr__(self) -> str:
        try:
            step = str(int(self.step))
        except (TypeError, RuntimeError):  # abstract, traced, or donated to a later step
            step = "?"
        ema = f"{count_parameters(self.ema):,} parameters" if self.ema else "none"
        return f"TrainState(step={step}, generator={self.generator}, discriminator={self.discriminator}, ema={ema})"


def count_parameters(params: Any) -> int:
    """Returns how many numbers the arrays of a tree hold; they may be abstract."""
    return sum(getattr(leaf, "size", 0) for leaf in jax.tree.leaves(params))


def random_streams(seed: int) -> tuple[jax.Array, jax.Array]:
    """(key of the initialisation, key of the steps); step s folds s into the latter."""
    init_key, steps_key = jax.random.split(jax.random.key(seed))
    return init_key, steps_key


def create_train_state(
    generator: nn.Module,
    discriminator: nn.Module,
    g_optimizer: optax.GradientTransformation,
    d_optimizer: optax.GradientTransformation,
    *,
    seed: int,
    image_size: tuple[int, int],
    input_channels: int = 3,
    target_channels: int = 3,
    ema: bool = False,
) -> TrainState:
    """Initialises both networks and their optimisers at step 0; with `ema`, a moving average of the generator too.

    Pure and traceable: `jax.eval_shape` gives the abstract state, `jax.jit(..., out_shardings=...)` places it.
    """
    g_key, d_key = jax.random.split(random_streams(seed)[0])
    image = jnp.zeros((1, *image_size, input_channels))
    target = jnp.zeros((1, *image_size, target_channels))
    g_variables = generator.init(g_key, image, deterministic=True)
    d_variables = discriminator.init(d_key, image, target)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        generator=_network_state(g_variables, g_optimizer),
        discriminator=_network_state(d_variables, d_optimizer),
        ema=jax.tree.map(jnp.copy, g_variables["params"]) if ema else {},
    )


def _network_state(variables: Any, optimizer: optax.GradientTransformation) -> NetworkState:
    params = variables["params"]
    return NetworkState(
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
    )


def state_shardings(state: TrainState, mesh: Mesh, *, shard_optimizer: bool = False) -> TrainState:
    """The sharding of each leaf of a train state, which may be abstract: replicated.

    With `shard_optimizer` the optimisers' moments of kernels are spread over `data` instead, each along the largest of
    its axes that the devices divide; those without one, and vectors, which are small, stay replicated. Each device then
    updates its share of the parameters, which all get (Rajbhandari et al. 2020, ZeRO, stage 1).
    """
    shardings = jax.tree.map(lambda _: meshes.replicated(mesh), state)
    if not shard_optimizer:
        return shardings

    def spread(network: NetworkState, placed: NetworkState) -> NetworkState:
        return placed.replace(
            opt_state=jax.tree.map(lambda x: meshes.spread_along_data(x.shape, mesh), network.opt_state)
        )

    return shardings.replace(
        generator=spread(state.generator, shardings.generator),
        discriminator=spread(state.discriminator, shardings.discriminator),
    )
