"""Compiles the programs of pix2pix_jax, without data, logs and loop."""

import functools
from collections.abc import Sequence

import alternate
import jax
import numpy as np
from jax.sharding import Mesh

from pix2pix_jax.configuration import build_model
from pix2pix_jax.gan.state import state_shardings
from pix2pix_jax.inference import trained_model
from pix2pix_jax.runtime import cpu, meshes
from pix2pix_jax.training import compiling
from pix2pix_jax.workdir.checkpoints import abstract

cpu.keep_freed_memory()  # as the program does, before JAX has threads; systems of the same process gain by it too


def trace(config, mesh: Mesh, platform: str | None = None) -> jax.stages.Traced:
    """Traces the step that `pix2pix train` compiles on such a mesh; `platform`: see `compiling.trace_train_step`."""
    parts, state, batch = abstract_case(config, mesh)
    return compiling.trace_train_step(config, parts, mesh=mesh, state=state, batch=batch, platform=platform)


def trace_translation(config, mesh: Mesh, platform: str) -> jax.stages.Traced:
    """Traces what `pix2pix_jax.load(...).translate` compiles on such a mesh, for images of the config's size."""
    _, state, _ = abstract_case(config, mesh)
    images = jax.ShapeDtypeStruct((config.batch_size, *config.image_size, config.input_channels), "float32")
    pictures = (images, jax.ShapeDtypeStruct((config.batch_size,), "uint32"))
    pictures = abstract(pictures, meshes.batch_sharding(mesh))
    translate = trained_model.make_translate(config, platform=platform)
    translate = jax.jit(translate, out_shardings=meshes.batch_sharding(mesh))
    return translate.trace(build_model.inference_variables(config, state), *pictures, 0)


def abstract_case(config, mesh: Mesh):
    """Returns (parts, state, batch), the latter two as shapes, dtypes and places."""
    parts = build_model.build_parts(config, num_examples=400)
    state = jax.eval_shape(functools.partial(build_model.create_state, config, parts))
    sizes = {"input": config.input_channels, "target": config.target_channels}
    images = {
        name: jax.ShapeDtypeStruct((config.batch_size, *config.resize_size, n), "uint8") for name, n in sizes.items()
    }
    shardings = state_shardings(state, mesh, shard_optimizer=config.shard_optimizer)
    return parts, abstract(state, shardings), abstract(images, meshes.batch_sharding(mesh))


def memory(compiled: jax.stages.Compiled) -> dict[str, int]:
    """Returns the bytes that a program holds on a device: in all, and by what they are for."""
    found = compiled.memory_analysis()
    parts = {
        "arguments": found.argument_size_in_bytes,
        "temporary": found.temp_size_in_bytes,
        "code": found.generated_code_size_in_bytes,
    }
    fresh = found.output_size_in_bytes - found.alias_size_in_bytes
    return {**parts, "memory": sum(parts.values()) + fresh}


def make_mesh(config, devices: Sequence[jax.Device]) -> Mesh:
    """Makes the config's mesh on such devices, which need not be there."""
    parts = config.accumulate_steps
    return meshes.make_mesh(batch_size=config.batch_size, accumulate_steps=parts, **config.mesh, devices=devices)


def train_step(config) -> alternate.Turn:
    """Makes a turn of train steps on a batch that stays on the device, without waiting between them."""
    mesh = meshes.make_mesh(batch_size=config.batch_size, devices=jax.devices()[:1])
    parts, state, batch = abstract_case(config, mesh)
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
    """Describes the precision of products and convolutions."""
    setting = jax.config.jax_default_matmul_precision
    if config.compute_dtype == "float32" and jax.default_backend() == "gpu" and setting in (None, "default"):
        return "float32, products TF32"
    return config.compute_dtype
