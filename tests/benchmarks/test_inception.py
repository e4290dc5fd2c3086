"""What benchmarks/inception.py counts, and that it measures the network that evaluation runs."""

import inception as benchmark
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2pix_jax.metrics import inception, weights


def multiplications(batch: int) -> int:
    """Of the convolutions, each output pixel by each element of its kernel, those that meet padding too."""
    images = jax.ShapeDtypeStruct((batch, 299, 299, 3), jnp.float32)
    variables = jax.eval_shape(inception.Inception().init, jax.random.key(0), images)
    program = jax.make_jaxpr(inception.Inception().apply)(variables, images)
    found = [e for e in program.eqns if e.primitive.name == "conv_general_dilated"]
    assert len(found) == 94
    return sum(e.outvars[0].aval.size * np.prod(e.invars[1].aval.shape[:3]) for e in found)


@pytest.mark.parametrize("batch", [1, 3])
def test_flops_are_those_of_the_convolutions(batch):
    by_hand = 2e-9 * multiplications(batch)
    assert by_hand == pytest.approx(11.4 * batch, rel=0.01)
    assert 0.95 * by_hand < benchmark.gflop(batch) < by_hand  # what meets padding is not counted


def test_random_weights_are_read_and_keep_activations_finite(tmp_path):
    file = benchmark.write_random(tmp_path / "inception.npz")
    found = weights.load(weights.INCEPTION, str(file))
    assert not found.is_published
    features = benchmark.jax_features(file)(np.random.default_rng(0).uniform(-1, 1, (1, 299, 299, 3)).astype("f"))
    assert features.shape == (1, 2048)
    assert np.isfinite(features).all() and 1e-3 < features.std() < 1e3
