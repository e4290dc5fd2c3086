"""Norms against their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2pix_jax.models import norms


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def batch_norm(x, **changes):
    params = {"scale": normal(x.shape[-1], seed=1), "bias": normal(x.shape[-1], seed=2)}
    stats = {"mean": normal(x.shape[-1], seed=3), "var": 1 + normal(x.shape[-1], seed=4) ** 2}
    variables = {"params": params, "batch_stats": stats}
    return norms.BatchNorm().apply(variables, x, mutable=["batch_stats"], **changes), params, stats


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
    y = norms.BatchNorm().apply({"params": {"scale": jnp.ones(1), "bias": jnp.zeros(1)}}, x, mutable=["batch_stats"],
                                 use_running_average=False)[0]  # fmt: skip
    desired = (x - x.mean(dtype=np.float64)) / np.sqrt(x.var(dtype=np.float64) + 1e-5)
    np.testing.assert_allclose(y, desired, atol=0.1)


def test_initialising_leaves_running_statistics_alone():
    variables = norms.BatchNorm().init(jax.random.key(0), 5 + normal(2, 4, 4, 3), use_running_average=False)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(3))
    np.testing.assert_array_equal(variables["batch_stats"]["var"], np.ones(3))


def test_instance_norm_is_batch_norm_of_one_image_without_affine():
    x = 3 + 2 * normal(3, 4, 5, 2)
    y, variables = norms.InstanceNorm().init_with_output(jax.random.key(0), x)
    assert not variables
    plain = {"params": {"scale": jnp.ones(2), "bias": jnp.zeros(2)}}
    for image, normalised in zip(x, y, strict=True):
        alone = norms.BatchNorm().apply(plain, image[None], use_running_average=False, mutable=["batch_stats"])[0]
        np.testing.assert_allclose(normalised, alone[0], atol=1e-5)


def test_group_norm_normalises_groups_of_channels():
    x = 3 + 2 * normal(2, 4, 5, 64)  # 32 groups of 2 channels
    layer = norms.group_norm(64, epsilon=1e-5, scale_std=0.02, dtype=None, name="norm")
    params = {"scale": normal(64, seed=1), "bias": normal(64, seed=2)}
    groups = x.reshape(2, 4, 5, 32, 2)
    mean, var = groups.mean((1, 2, 4), keepdims=True), groups.var((1, 2, 4), keepdims=True)
    desired = ((groups - mean) / np.sqrt(var + 1e-5)).reshape(x.shape) * params["scale"] + params["bias"]
    np.testing.assert_allclose(layer.apply({"params": params}, x), desired, atol=1e-4)


def test_published_initialisation():
    scale = norms.scale_init(0.02)(jax.random.key(0), (16384,))
    assert abs(scale.std() - 0.02) < 0.0005 and abs(scale.mean() - 1) < 0.0007
    np.testing.assert_array_equal(norms.scale_init(0.0)(jax.random.key(0), (4,)), np.ones(4))


def plain_norm(x, scale, bias, axes):
    mean = x.mean(axes, keepdims=True)
    var = jnp.square(x - mean).mean(axes, keepdims=True)
    return (x - mean) / jnp.sqrt(var + 1e-5) * scale.reshape(1, 1, 1, -1) + bias.reshape(1, 1, 1, -1)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2)], ids=["batch", "instance"])
def test_the_gradient_and_its_own_gradient_are_those_of_the_definition(axes):
    """The second is what gradient penalties take."""
    operands = (3 + 2 * normal(2, 3, 4, 5), normal(5, seed=1), normal(5, seed=2))
    weights, direction = normal(2, 3, 4, 5, seed=3), normal(2, 3, 4, 5, seed=4)

    def gradients(norm):
        def first(*operands):
            return jax.grad(lambda *o: (weights * norm(*o)).sum(), argnums=(0, 1, 2))(*operands)

        return first(*operands), jax.grad(lambda *o: (direction * first(*o)[0]).sum(), argnums=(0, 1))(*operands)

    actual = gradients(lambda *o: norms._standardise(*o, axes, 1e-5, jnp.float32)[0])
    desired = gradients(lambda *o: plain_norm(*o, axes))
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(desired), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_norm_meets_other_devices_twice_going_forward_and_once_going_back():
    """Mean, then variance; then both sums of the gradient at once."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.NamedSharding(mesh, jax.P("data"))
    x = jax.device_put(normal(8, 2, 2, 3), spread)
    scale, bias = jnp.ones(3), jnp.zeros(3)

    def meetings(function) -> int:
        text = jax.jit(function, out_shardings=None).lower(x).compile().as_text()
        return text.count(" all-reduce(")

    def norm(x):
        return norms._standardise(x, scale, bias, (0, 1, 2), 1e-5, jnp.float32)[0]

    assert meetings(norm) == 2
    assert meetings(lambda x: jax.vjp(norm, x)[1](jnp.cos(x))) == 3
