"""Convolutions in every form against the plain ones, norms against their closed forms."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2pix_jax.models import layers

FORMS = {
    "down": (layers._down_conv_matmul, layers._down_conv_plain),
    "up-gather": (layers._up_conv_gather, layers._up_conv_plain),
    "up-scatter": (layers._up_conv_scatter, layers._up_conv_plain),
    "up": (layers._up_conv_matmul, layers._up_conv_plain),
    "flat": (layers._flat_conv_matmul, layers._flat_conv_plain),
}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 2, 2, 5), (2, 6, 10, 3)], ids=["smallest", "oblong"])
@pytest.mark.parametrize("form", FORMS)
def test_regrouped_convolutions_equal_the_plain_ones(form, shape):
    x, kernel = normal(*shape), normal(4, 4, shape[-1], 7)

    def run(convolve):
        y, pull = jax.vjp(convolve, x, kernel)
        return y, pull(normal(*y.shape, seed=1))  # both gradients of a random projection

    fast, plain = FORMS[form]
    actual, desired = jax.jit(run, static_argnums=0)(fast), jax.jit(run, static_argnums=0)(plain)
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(desired), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())


def test_up_conv_is_the_transposed_convolution_of_flax():
    x, kernel, bias = normal(2, 3, 5, 4), normal(4, 4, 4, 6), normal(6)
    params = {"params": {"kernel": kernel, "bias": bias}}
    actual = layers.UpConv(6).apply(params, x)
    desired = nn.ConvTranspose(6, (4, 4), (2, 2), "SAME").apply(params, x)
    np.testing.assert_allclose(actual, desired, atol=1e-5)


@pytest.mark.parametrize(("layer", "shape"), [("DownConv", (4, 3)), ("UpConv", (16, 12)), ("Conv", (7, 5))])
def test_layers_keep_kernels_at_their_mathematical_size(layer, shape):
    module = getattr(layers, layer)(5)
    y, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), jnp.zeros((2, 8, 6, 3))))
    assert y.shape == (2, *shape, 5)
    assert jax.tree.map(jnp.shape, variables["params"]) == {"kernel": (4, 4, 3, 5), "bias": (5,)}


def test_layers_compute_in_their_dtype_and_keep_float32_parameters():
    module = layers.DownConv(5, dtype=jnp.bfloat16)
    y, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), jnp.zeros((2, 8, 8, 3))))
    assert y.dtype == jnp.bfloat16
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(variables))


def batch_norm(x, **changes):
    params = {"scale": normal(x.shape[-1], seed=1), "bias": normal(x.shape[-1], seed=2)}
    stats = {"mean": normal(x.shape[-1], seed=3), "var": 1 + normal(x.shape[-1], seed=4) ** 2}
    variables = {"params": params, "batch_stats": stats}
    return layers.BatchNorm().apply(variables, x, mutable=["batch_stats"], **changes), params, stats


def test_batch_norm_normalises_by_the_batch_and_runs_unbiased_statistics():
    x = 3 + 2 * normal(2, 3, 4, 5)
    (y, after), params, before = batch_norm(x, use_running_average=False)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5) * params["scale"] + params["bias"], atol=1e-5)
    unbiased = x.var((0, 1, 2), ddof=1)  # 24 values: 4 % above the biased one
    np.testing.assert_allclose(after["batch_stats"]["mean"], 0.9 * before["mean"] + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(after["batch_stats"]["var"], 0.9 * before["var"] + 0.1 * unbiased, rtol=1e-5)


def test_batch_norm_in_running_mode_uses_its_statistics_and_keeps_them():
    x = 3 + 2 * normal(2, 3, 4, 5)
    (y, after), params, before = batch_norm(x, use_running_average=True)
    desired = (x - before["mean"]) / np.sqrt(before["var"] + 1e-5) * params["scale"] + params["bias"]
    np.testing.assert_allclose(y, desired, rtol=1e-5, atol=1e-5)
    for moment in ("mean", "var"):
        np.testing.assert_array_equal(after["batch_stats"][moment], before[moment])


def test_batch_norm_of_a_single_value_is_its_bias():
    """No variance is left, and the unbiased estimate must not divide by 0."""
    (y, after), params, _ = batch_norm(normal(1, 1, 1, 5), use_running_average=False)
    np.testing.assert_allclose(y[0, 0, 0], params["bias"], atol=1e-4)
    assert np.isfinite(after["batch_stats"]["var"]).all()


def test_batch_norm_does_not_cancel_for_flat_channels():
    x = 1000 + 0.01 * normal(2, 8, 8, 1)
    y = layers.BatchNorm().apply({"params": {"scale": jnp.ones(1), "bias": jnp.zeros(1)}}, x, mutable=["batch_stats"],
                                 use_running_average=False)[0]  # fmt: skip
    desired = (x - x.mean(dtype=np.float64)) / np.sqrt(x.var(dtype=np.float64) + 1e-5)
    np.testing.assert_allclose(y, desired, atol=0.1)


def test_initialising_leaves_running_statistics_alone():
    variables = layers.BatchNorm().init(jax.random.key(0), 5 + normal(2, 4, 4, 3), use_running_average=False)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(3))
    np.testing.assert_array_equal(variables["batch_stats"]["var"], np.ones(3))


def test_instance_norm_is_batch_norm_of_one_image_without_affine():
    x = 3 + 2 * normal(3, 4, 5, 2)
    y, variables = layers.InstanceNorm().init_with_output(jax.random.key(0), x, use_running_average=True)
    assert not variables
    plain = {"params": {"scale": jnp.ones(2), "bias": jnp.zeros(2)}}
    for image, normalised in zip(x, y, strict=True):
        alone = layers.BatchNorm().apply(plain, image[None], use_running_average=False, mutable=["batch_stats"])[0]
        np.testing.assert_allclose(normalised, alone[0], atol=1e-5)


def test_published_initialisation():
    kernel = layers.kernel_init(jax.random.key(0), (4, 4, 32, 32))  # 16384 values: 4 deviations are 0.0005
    scale = layers.scale_init(jax.random.key(0), (16384,))
    assert abs(kernel.std() - 0.02) < 0.0005 and abs(kernel.mean()) < 0.0007
    assert abs(scale.std() - 0.02) < 0.0005 and abs(scale.mean() - 1) < 0.0007


def test_only_batch_norm_takes_the_place_of_a_bias():
    assert [name for name in layers.NORMS if not layers.needs_bias(name)] == ["batch"]
