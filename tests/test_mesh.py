"""A run does not depend on how devices share it: losses, statistics and parameters on meshes of 1 to 8 devices."""

import functools

import jax
import pytest
from test_steps import make_batch

from pix2pix_jax import parallel, recipe

STEPS = 3


@pytest.fixture(scope="module")
def run(tiny_config):
    """Makes (losses of each step, the state after them, the compiled step) of a run on a mesh."""

    @functools.cache
    def run(data, rows, *overrides):
        config = tiny_config(
            "--config.batch_size=8",
            "--config.generator.dropout_layers=1,2",
            "--config.eps=1e-3",
            f"--config.mesh.rows={rows}",
            *overrides,
        )
        mesh = parallel.make_mesh(batch_size=8, accumulate_steps=config.accumulate_steps, data=data, rows=rows)
        parts = recipe.build_parts(config, num_examples=10)
        create = functools.partial(recipe.create_state, config, parts)
        shardings = parallel.state_shardings(jax.eval_shape(create), mesh, shard_optimizer=config.shard_optimizer)
        state = jax.jit(create, out_shardings=shardings)()
        step = recipe.build_train_step(config, parts, constrain=functools.partial(parallel.constrain_images, mesh=mesh))
        batch = jax.device_put(make_batch(count=8), parallel.batch_sharding(mesh))
        step = jax.jit(step, out_shardings=(shardings, parallel.replicated(mesh))).lower(state, batch).compile()
        losses = []
        for _ in range(STEPS):
            state, metrics = step(state, batch)
            losses.append(jax.device_get(metrics))
        return losses, state, step

    return run
