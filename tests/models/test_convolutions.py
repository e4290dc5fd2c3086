"""Convolutions in every form against the plain ones."""

import contextlib
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2pix_jax.models.convolutions import gpu, layers, matmul, plain

FORMS = {
    "down": (matmul.down_conv, plain.down_conv, {"pad": 1}),
    "down-padded": (matmul.down_conv, plain.down_conv, {"pad": 0}),
    "up-by-tap": (matmul.up_conv_by_tap, plain.up_conv, {}),
    "up-scatter": (matmul.up_conv_scatter, plain.up_conv, {}),
    "up": (matmul.up_conv, plain.up_conv, {}),
    "flat": (matmul.flat_conv, plain.flat_conv, {"pad": 1}),
    "flat-scatter": (matmul.flat_conv_scatter, plain.flat_conv, {"pad": 1}),
    "gpu-down": (gpu.down_conv, plain.down_conv, {"pad": 1}),
    "gpu-up": (gpu.up_conv, plain.up_conv, {}),
    "gpu-flat": (gpu.flat_conv, plain.flat_conv, {"pad": 1}),
}
SMALLER = [(form, 3) for form in ("down", "up", "flat", "flat-scatter", "gpu-down", "gpu-up")] + [("flat", 1)]
CASES = [(form, 4) for form in FORMS] + SMALLER


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 4, 4, 20), (2, 6, 10, 3)], ids=["more-channels", "more-pixels"])
@pytest.mark.parametrize(("form", "size"), CASES)
def test_regrouped_convolutions_equal_the_plain_ones(form, size, shape):
    x, kernel = normal(*shape), normal(size, size, shape[-1], 7)
    fast, plain, options = FORMS[form]

    @functools.partial(jax.jit, static_argnums=0)
    def run(convolve):
        y, pull = jax.vjp(functools.partial(convolve, **options), x, kernel)
        return y, pull(normal(*y.shape, seed=1))  # both gradients of a random projection

    for one, other in zip(jax.tree.leaves(run(fast)), jax.tree.leaves(run(plain)), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("side", [1, 2, 4, 8])
@pytest.mark.parametrize("form", ["down", "up"])
def test_without_a_gradient_few_rows_are_multiplied_otherwise(form, side, dtype):
    """To the same result; XLA sees the other form by the left operand's rows, which are contracted."""
    fast, plain, options = FORMS[form]
    large = 2 * side if form == "down" else side
    x, kernel = (jnp.asarray(a, dtype) for a in (normal(1, large, large, 40), normal(4, 4, 40, 24)))
    lowered = jax.jit(functools.partial(fast, **options)).lower(x, kernel)
    assert ("contracting_dims = [1] x [1]" in lowered.as_text()) == (side**2 <= 16)
    found = lowered.compile()(x, kernel)
    assert found.dtype == dtype
    expected = np.asarray(plain(x.astype(jnp.float32), kernel.astype(jnp.float32), **options))
    tolerance = 1e-5 if dtype == jnp.float32 else 0.02
    np.testing.assert_allclose(found.astype(jnp.float32), expected, rtol=tolerance, atol=tolerance * expected.std())


def test_with_a_gradient_few_rows_are_multiplied_plainly():
    loss = jax.grad(lambda kernel, x: matmul.down_conv(x, kernel, pad=1).sum())
    text = jax.jit(loss).lower(normal(4, 4, 40, 24), normal(1, 4, 4, 40)).as_text()
    assert "dot_general" in text and "batching_dims" not in text


@pytest.mark.parametrize("form", FORMS)
def test_bfloat16_is_float32_but_for_a_few_roundings(form):
    """Of 0.2 % each at most; sixteen of them, in a sum over taps, would be more. Logits are rounded once."""
    most = 0.002 if form == "flat-scatter" else 0.0045
    fast, plain, options = FORMS[form]
    operands = [normal(1, 8, 8, 40), normal(4, 4, 40, 24)]
    y, pull = jax.vjp(functools.partial(fast, **options), *(jnp.asarray(x, jnp.bfloat16) for x in operands))
    operands = [np.asarray(jnp.asarray(x, jnp.bfloat16), np.float32) for x in operands]
    gradient = jnp.asarray(normal(*y.shape), jnp.bfloat16)
    expected, expected_pull = jax.vjp(functools.partial(plain, **options), *operands)
    for found, exact in zip((y, *pull(gradient)), (expected, *expected_pull(gradient.astype(np.float32))), strict=True):
        assert found.dtype == jnp.bfloat16
        error = np.asarray(found, np.float32) - exact
        assert np.sqrt(np.mean(error**2)) < most * np.std(exact)


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu", None])
def test_a_trace_for_one_platform_has_its_form_alone(platform):
    x, kernel = normal(1, 8, 8, 3), normal(4, 4, 3, 5)

    def run(x, kernel):
        with layers.traced_for(platform) if platform else contextlib.nullcontext():
            return layers.down_conv(x, kernel)

    traced = jax.jit(run).trace(x, kernel)
    text = str(traced.jaxpr)
    assert ("dot_general" in text) == (platform in ("cpu", None))
    assert ("conv_general_dilated" in text) == (platform != "cpu")
    assert ("platform_index" in text) == (platform is None)
    expected = plain.down_conv(x, kernel, pad=1)
    np.testing.assert_allclose(traced.lower().compile()(x, kernel), expected, rtol=1e-5, atol=1e-5)
    assert layers._platform.get() is None


def test_what_xla_looks_for_on_gpus_is_in_their_program():
    """A kernel reversed behind a barrier makes a transposed convolution; kernels' gradients keep the kernels' order."""
    x, kernel = normal(1, 8, 8, 3), normal(4, 4, 3, 5)
    gradients = jax.jit(jax.grad(lambda x, kernel: gpu.up_conv(x, kernel).sum(), argnums=1))
    text = gradients.trace(x, kernel).lower(lowering_platforms=("cuda",)).as_text()
    assert "LayoutConstraint" in text
    traced = jax.jit(layers.up_conv).trace(x, kernel)  # for all platforms; lowering takes one form
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert 0 < text.find("optimization_barrier") < text.rfind("stablehlo.reverse") < text.find("stablehlo.convolution")
    assert "optimization_barrier" not in traced.lower(lowering_platforms=("tpu",)).as_text()


def test_gradients_leave_rows_on_their_devices():
    """Neighbours exchange border rows; nobody gets all of them."""
    mesh = jax.make_mesh((4,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:4])
    rows, whole = (jax.NamedSharding(mesh, jax.P(*axes)) for axes in ((None, "rows"), ()))
    x, y, kernel = normal(2, 16, 8, 3), normal(2, 32, 16, 5), normal(4, 4, 3, 5)

    def step(x, kernel, gradient):
        return jax.vjp(plain.up_conv, x, kernel)[1](gradient)

    placed = jax.jit(step, in_shardings=(rows, whole, rows), out_shardings=(rows, whole))
    text = placed.lower(x, kernel, y).compile().as_text()
    assert " all-gather(" not in text and " collective-permute(" in text
    for spread, alone in zip(placed(x, kernel, y), step(x, kernel, y), strict=True):
        np.testing.assert_allclose(spread, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 5, 5, 2), (2, 7, 4, 2)])
def test_odd_sizes_lose_their_last_row(shape):
    x, kernel = normal(*shape), normal(4, 4, 2, 3)
    actual = layers.down_conv(x, kernel)
    assert actual.shape == (shape[0], shape[1] // 2, shape[2] // 2, 3)
    np.testing.assert_allclose(actual, plain.down_conv(x, kernel, pad=1), atol=1e-4)


@pytest.mark.parametrize(("size", "before", "after"), [(4, 2, 2), (3, 1, 2)])
def test_up_conv_is_the_transposed_convolution_of_flax(size, before, after):
    x, kernel, bias = normal(2, 3, 5, 4), normal(size, size, 4, 6), normal(6)
    params = {"params": {"kernel": kernel, "bias": bias}}
    actual = layers.UpConv(6, size).apply(params, x)
    padding = ((before, after), (before, after))
    desired = nn.ConvTranspose(6, (size, size), (2, 2), padding).apply(params, x)
    np.testing.assert_allclose(actual, desired, atol=1e-5)


def test_reflection_reads_the_mirrored_rim():
    x, kernel = normal(1, 6, 6, 2), normal(4, 4, 2, 3)
    mirrored = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    for convolve, unpadded in (
        (layers.down_conv, plain.down_conv),
        (layers.flat_conv, plain.flat_conv),
    ):
        actual = convolve(x, kernel, padding="reflect")
        np.testing.assert_allclose(actual, unpadded(mirrored, kernel, pad=0), atol=1e-4)
        assert actual.shape == convolve(x, kernel).shape


LAYERS = [("DownConv", 4, (4, 3)), ("DownConv", 3, (4, 3)), ("UpConv", 4, (16, 12)), ("UpConv", 3, (16, 12))]


@pytest.mark.parametrize(("layer", "size", "shape"), [*LAYERS, ("Conv", 4, (7, 5)), ("Conv", 3, (8, 6))])
def test_layers_keep_kernels_at_their_mathematical_size(layer, size, shape):
    module = getattr(layers, layer)(5, size)
    y, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), jnp.zeros((2, 8, 6, 3))))
    assert y.shape == (2, *shape, 5)
    assert jax.tree.map(jnp.shape, variables["params"]) == {"kernel": (size, size, 3, 5), "bias": (5,)}


def test_layers_compute_in_their_dtype_and_keep_float32_parameters():
    module = layers.DownConv(5, dtype=jnp.bfloat16)
    y, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), jnp.zeros((2, 8, 8, 3))))
    assert y.dtype == jnp.bfloat16
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(variables))


def test_published_initialisation():
    kernel = layers.kernel_init(jax.random.key(0), (4, 4, 32, 32))  # 16384 values: 4 deviations are 0.0005
    assert abs(kernel.std() - 0.02) < 0.0005 and abs(kernel.mean()) < 0.0007
