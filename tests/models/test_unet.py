"""The U-Net: its published size, its shapes and what dropout does."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2pix_jax.models import UNetGenerator

RNGS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}


def shapes(model: UNetGenerator, *shape: int):
    """Output and variables of a call, as shapes; computes nothing."""
    return jax.eval_shape(lambda: model.init_with_output(RNGS, jnp.zeros(shape)))


def test_published_number_of_parameters():
    _, variables = shapes(UNetGenerator(), 1, 256, 256, 3)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == 54_413_955


@pytest.mark.parametrize("num_downs", range(5, 11))
def test_output_has_the_size_of_the_image(num_downs):
    size = 2**num_downs
    output, variables = shapes(UNetGenerator(num_downs=num_downs), 2, size, size, 3)
    assert (output.shape, output.dtype) == ((2, size, size, 3), jnp.float32)
    widths = [variables["params"][f"down{i}"]["kernel"].shape[-1] for i in range(num_downs)]
    assert widths == [64, 128, 256, *[512] * (num_downs - 3)]


def test_channels_of_input_and_output_may_differ():
    output, variables = shapes(UNetGenerator(out_channels=2, num_downs=5), 1, 32, 32, 1)
    assert output.shape == (1, 32, 32, 2)
    assert variables["params"]["down0"]["kernel"].shape == (4, 4, 1, 64)


def test_parameters_stay_float32_in_bfloat16():
    output, variables = shapes(UNetGenerator(num_downs=5, dtype=jnp.bfloat16), 1, 32, 32, 3)
    assert {x.dtype for x in jax.tree.leaves((output, variables))} == {jnp.dtype("float32")}


@pytest.mark.parametrize("size", [(48, 32), (32, 40)])
def test_a_size_that_does_not_halve_is_refused(size):
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]}.*multiples of 32"):
        shapes(UNetGenerator(num_downs=5), 1, *size, 3)


@pytest.mark.parametrize(
    ("num_downs", "dropped"),
    [(5, []), (6, [(4, 4)]), (7, [(4, 4), (8, 8)]), (8, [(4, 4), (8, 8), (16, 16)])],
)
def test_dropout_is_where_pytorch_cyclegan_and_pix2pix_has_it(num_downs, dropped):
    model, size = UNetGenerator(num_downs=num_downs, features=4), 2**num_downs
    seen = jax.eval_shape(
        lambda: model.init(
            RNGS, jnp.zeros((1, size, size, 3)), capture_intermediates=lambda m, _: isinstance(m, nn.Dropout)
        )
    ).get("intermediates", {})
    assert sorted(x["__call__"][0].shape[1:3] for x in seen.values()) == dropped


@pytest.fixture(scope="module")
def oblong():
    """A U-Net with one dropout layer: run(dropout key or None), on images of 64x128."""
    model = UNetGenerator(num_downs=6, features=2)
    image = np.random.default_rng(0).uniform(-1, 1, (2, 64, 128, 3)).astype(np.float32)
    rng = np.random.default_rng(0)
    _, abstract = shapes(model, *image.shape)
    variables = jax.tree.map(lambda x: 0.3 * rng.standard_normal(x.shape, np.float32), abstract)

    @jax.jit
    def on(key):
        return model.apply(variables, image, rngs={"dropout": key}, mutable=["batch_stats"])[0]

    @jax.jit
    def off():
        return model.apply(variables, image, deterministic=True, mutable=["batch_stats"])[0]

    return lambda seed: off() if seed is None else on(jax.random.key(seed))


def test_dropout_draws_from_its_key_alone(oblong):
    np.testing.assert_array_equal(oblong(1), oblong(1))
    assert np.abs(oblong(1) - oblong(2)).max() > 1e-4


def test_without_dropout_there_is_no_chance(oblong):
    np.testing.assert_array_equal(oblong(None), oblong(None))
    assert np.abs(oblong(None) - oblong(1)).max() > 1e-4


def test_non_square_images():
    output, _ = shapes(UNetGenerator(num_downs=5), 3, 32, 64, 3)
    assert output.shape == (3, 32, 64, 3)


def test_output_is_bounded_and_follows_its_own_image(oblong):
    assert np.abs(oblong(None)).max() <= 1
    assert np.abs(oblong(None)[0] - oblong(None)[1]).max() > 1e-4
