"""The compiled programs of pix2pix_jax without data, logs and loop, on one device."""

import functools

import alternate
import jax
import numpy as np
from jax.sharding import Mesh

from pix2pix_jax.config import build_model
from pix2pix_jax.gan.state import state_shardings
from pix2pix_jax.inference import trained_model
from pix2pix_jax.runtime import meshes
from pix2pix_jax.training import loop
from pix2pix_jax.workdir.checkpoints import abstract


def trace(config, mesh: Mesh, platform: str | None = None) -> jax.stages.Traced:
    """What `pix2pix train` compiles on such a mesh, from shapes alone; `platform`: see `loop.trace_train_step`."""
    state, batch = _abstract(config, mesh)
    parts = build_model.build_parts(config, num_examples=400)
    return loop.trace_train_step(config, parts, mesh=mesh, state=state, batch=batch, platform=platform)


def trace_translation(config, mesh: Mesh, platform: str) -> jax.stages.Traced:
    """What `pix2pix_jax.load(...).translate` compiles on such a mesh, for pictures of the config's size."""
    state, _ = _abstract(config, mesh)
    images = jax.ShapeDtypeStruct((config.batch_size, *config.image_size, config.input_channels), "float32")
    pictures = (images, jax.ShapeDtypeStruct((config.batch_size,), "uint32"))
    pictures = abstract(pictures, meshes.batch_sharding(mesh))
    translate = trained_model.make_translate(config, platform=platform)
    translate = jax.jit(translate, out_shardings=meshes.batch_sharding(mesh))
    return translate.trace(build_model.inference_variables(config, state), *pictures, 0)


def _abstract(config, mesh: Mesh):
    """(state, batch): shapes, dtypes and places."""
    state = jax.eval_shape(
        functools.partial(build_model.create_state, config, build_model.build_parts(config, num_examples=400))
    )
    sizes = {"input": config.input_channels, "target": config.target_channels}
    images = {
        name: jax.ShapeDtypeStruct((config.batch_size, *config.resize_size, n), "uint8") for name, n in sizes.items()
    }
    shardings = state_shardings(state, mesh, shard_optimizer=config.shard_optimizer)
    return abstract(state, shardings), abstract(images, meshes.batch_sharding(mesh))


def train_step(config) -> alternate.Turn:
    """The train step on a batch that stays on the device, as many in flight as a turn has."""
    mesh = meshes.make_mesh(batch_size=config.batch_size, devices=jax.devices()[:1])
    state, batch = _abstract(config, mesh)
    parts = build_model.build_parts(config, num_examples=400)
    place = jax.tree.map(lambda x: x.sharding, state)
    state = jax.jit(functools.partial(build_model.create_state, config, parts), out_shardings=place)()
    rng = np.random.default_rng(0)
    batch = {k: jax.device_put(rng.integers(0, 256, x.shape, np.uint8), x.sharding) for k, x in batch.items()}
    compiled = trace(config, mesh).lower().compile()

    def turn(calls: int) -> None:
        nonlocal state
        for _ in range(calls):
            state, metrics = compiled(state, batch)
        jax.block_until_ready((state, metrics))

    return turn


def precision(config) -> str:
    """Of products and convolutions, in words."""
    setting = jax.config.jax_default_matmul_precision
    if config.compute_dtype == "float32" and jax.default_backend() == "gpu" and setting in (None, "default"):
        return "float32, products TF32"
    return config.compute_dtype
