"""The arithmetic that benchmarks/floor.py counts."""

import dataclasses
import functools

import floor
import jax
import optax
import pytest

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.configuration import build_model


def counted_by_xla(config) -> float:
    """GFLOP of the step with plain convolutions, as on TPUs, without Adam; norms and activations are in it too."""
    parts = build_model.build_parts(config, num_examples=400)
    parts = dataclasses.replace(parts, g_optimizer=optax.identity(), d_optimizer=optax.identity())
    state = jax.eval_shape(functools.partial(build_model.create_state, config, parts))
    image = jax.ShapeDtypeStruct((config.batch_size, *config.resize_size, 3), "uint8")
    traced = jax.jit(build_model.build_train_step(config, parts)).trace(state, {"input": image, "target": image})
    return traced.lower(lowering_platforms=("tpu",)).cost_analysis()["flops"] / 1e9


@pytest.mark.heavy
@pytest.mark.parametrize("override", ["", "--config.gan_weight=0", "--config.batch_size=4"])
def test_flops_of_a_step_are_those_that_xla_counts(override):
    config = config_lib.load("default", [override] if override else [])
    assert 0.98 * counted_by_xla(config) < floor.train_step_gflop(config) < counted_by_xla(config)


def test_flops_of_a_picture():
    assert 11.3 < floor.generator_gflop(config_lib.load("default", [])) < 12.1  # 12.1 with products of the padding
