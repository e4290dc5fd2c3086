"""The train state: all that a run carries from one step to the next."""

import dataclasses
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding

from pix2pix_jax.gan.objective import Objective
from pix2pix_jax.models.initialization import init_at_once
from pix2pix_jax.runtime import meshes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """Holds the networks of a model, the optimisers of their params, and the objective that these minimise.

    Attributes:
      generator: maps images (N, H, W, C) to translations (N, H, W, D), both in [-1, 1].
      discriminator: maps an image and a candidate to logits (N, h, w, 1), or a tuple of those, one for each scale.
    """

    generator: nn.Module
    discriminator: nn.Module
    g_optimizer: optax.GradientTransformation
    d_optimizer: optax.GradientTransformation
    objective: Objective = dataclasses.field(default_factory=Objective)


class NetworkState(flax.struct.PyTreeNode):
    """Holds one network's `params`, `batch_stats` ({} without BatchNorm) and Adam's `opt_state`, all float32."""

    params: Any
    batch_stats: Any
    opt_state: Any

    def __repr__(self) -> str:
        """Returns one line without the arrays, which would fill the screen."""
        return f"NetworkState({count_parameters(self.params):,} parameters)"

    @property
    def variables(self) -> dict[str, Any]:
        return {"params": self.params, "batch_stats": self.batch_stats}


class TrainState(flax.struct.PyTreeNode):
    """Holds all that changes from step to step.

    Attributes:
      step: number of updates done, an int32 scalar; it is also the position in the data.
      ema: moving average of the generator's params; {} where none is kept.
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
    """Counts the numbers in the arrays of a tree, which may be abstract."""
    return sum(getattr(leaf, "size", 0) for leaf in jax.tree.leaves(params))


def random_streams(seed: int) -> tuple[jax.Array, jax.Array]:
    """Returns (key of the initialisation, key of the steps); step s folds s into the latter."""
    return tuple(jax.random.split(jax.random.key(seed)))


def create_train_state(
    parts: Parts,
    *,
    seed: int,
    image_size: tuple[int, int],
    input_channels: int = 3,
    target_channels: int = 3,
    ema: bool = False,
) -> TrainState:
    """Initialises both networks and their optimisers at step 0.

    Pure and traceable: `jax.eval_shape` gives the abstract state, `jax.jit(..., out_shardings=...)` places it.

    Args:
      parts: networks and optimisers.
      seed: seed of the initial parameters.
      image_size: (height, width) in pixels that the networks see.
      input_channels: channels of the input images.
      target_channels: channels of the targets.
      ema: whether to keep a moving average of the generator's params, as `StepOptions.ema_decay` needs.
    """
    g_key, d_key = jax.random.split(random_streams(seed)[0])
    image = jnp.zeros((1, *image_size, input_channels))
    target = jnp.zeros((1, *image_size, target_channels))
    g_variables = init_at_once(parts.generator, g_key, image, deterministic=True)
    d_variables = init_at_once(parts.discriminator, d_key, image, target)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        generator=_network_state(g_variables, parts.g_optimizer),
        discriminator=_network_state(d_variables, parts.d_optimizer),
        ema=jax.tree.map(jnp.copy, g_variables["params"]) if ema else {},
    )


def _network_state(variables: Any, optimizer: optax.GradientTransformation) -> NetworkState:
    params = variables["params"]
    return NetworkState(params, variables.get("batch_stats", {}), optimizer.init(params))


def state_shardings(state: TrainState, mesh: Mesh, *, shard_optimizer: bool = False) -> TrainState:
    """Returns the sharding of each leaf of a train state, which may be abstract.

    By default every leaf is replicated. With `shard_optimizer`, the moments of kernels are spread over the mesh axis
    `data`, each along the largest of its axes that the number of devices divides. Moments without such an axis, and
    vectors, which are small, stay replicated. Each device then updates its share of the parameters and sends it to the
    others (Rajbhandari et al. 2020, ZeRO, stage 1).
    """

    def sharding(path: tuple, leaf: jax.Array) -> NamedSharding:
        is_spread = shard_optimizer and jax.tree_util.GetAttrKey("opt_state") in path
        return meshes.spread_along_data(leaf.shape, mesh) if is_spread else meshes.replicated(mesh)

    return jax.tree.map_with_path(sharding, state)
