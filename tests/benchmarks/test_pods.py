"""benchmarks/pods.py compiles what training runs; here for the tests' 8 devices, as the TPU compiler is an extra."""

import importlib.util
import math

import bare
import jax
import pods
import pytest

from pix2pix_jax.configuration import build_model
from pix2pix_jax.errors import UserError
from pix2pix_jax.runtime import meshes


@pytest.fixture(scope="module")
def costs(tiny_config):
    config = tiny_config("--config.batch_size=8", "--config.mesh.data=8")
    mesh = meshes.make_mesh(batch_size=8, **config.mesh)
    parts = build_model.build_parts(config, num_examples=400)
    params = jax.eval_shape(lambda: build_model.create_state(config, parts))
    networks = (params.generator.params, params.discriminator.params)
    num_params = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(networks))
    return pods.costs(bare.trace(config, mesh).lower().compile(), num_devices=8), num_params


def test_a_step_sends_its_gradients_and_little_else(costs):
    found, num_params = costs
    assert set(found["collectives"]) == {"all-reduce"}
    payload = found["collectives"]["all-reduce"]["payload"]
    assert 4 * num_params <= payload < 1.2 * 4 * num_params  # the rest are sums of norms; the networks are tiny


def test_a_chip_holds_parameters_moments_and_its_share_of_the_batch(costs):
    found, num_params = costs
    assert 12 * num_params < found["arguments"] < 13 * num_params + 2 * 3 * 36 * 36
    assert found["memory"] > found["arguments"] + found["temporary"]
    assert found["flops"] > 0 and found["bytes_accessed"] > found["arguments"]


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="the compiler is there")
def test_without_the_compiler_the_extra_is_named():
    with pytest.raises(UserError, match=r"--topology=v5e:2x2: .*pip install '.\[tpu\]'"):
        pods.make_devices("v5e:2x2")


def test_cases_are_configs():
    for _, *overrides in pods.SUITE:
        pods.config_lib.load("default", overrides)
