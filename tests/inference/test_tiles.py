"""Pictures at their own size: in one pass and in tiles, against the network on the padded picture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pix2pix_jax.data.color import COLOR_SPACES
from pix2pix_jax.data.files.value_range import ValueRange
from pix2pix_jax.gan.train_step import make_translate_step
from pix2pix_jax.inference.tiles import ArrayPicture, Tiling, bucket, in_one_pass
from pix2pix_jax.inference.window_programs import WindowPrograms
from pix2pix_jax.models import ResNetGenerator, UNetGenerator
from pix2pix_jax.runtime import meshes

VALUES = ValueRange.of("float32", (-1, 1))
KEY = jax.random.key(3)
UNET, RESNET = UNetGenerator(features=4, num_downs=5), ResNetGenerator(features=4, num_blocks=1)


def variables_of(generator):
    """Returns variables with larger kernels than the initial ones, so that outputs use all of [-1, 1]."""
    variables = generator.init({"params": jax.random.key(0), "dropout": KEY}, jnp.zeros((1, 32, 32, 3)))
    return jax.tree.map(lambda x: x * 8 if x.ndim == 4 else x, variables)


def programs_of(generator, rows=1, **options):
    rules = {"norm_stats": "instance", "dropout": True} | options
    space, values = COLOR_SPACES["rgb"], (VALUES, VALUES)
    mesh = meshes.make_local_mesh(rows=rows)
    return WindowPrograms(generator, variables_of(generator), color=space, values=values, mesh=mesh, **rules)


def one_pass(programs, image):
    return in_one_pass(programs, ArrayPicture(image), KEY)


def tiled(programs, image, side, depth):
    return np.concatenate(list(Tiling(programs, ArrayPicture(image), KEY, side=side, depth=depth).bands()))


def picture(size, seed=0):
    """Draws smooth colours with a few edges."""
    coarse = np.random.default_rng(seed).uniform(-1, 1, (8, 8, 3)).astype(np.float32)
    return np.asarray(jax.image.resize(coarse, (*size, 3), "linear")).clip(-1, 1)


def reference(generator, image, multiple, **rules):
    """Translates the padded picture by the step that all other inference uses."""
    padding = [(0, -side % multiple) for side in image.shape[:2]]
    padded = np.pad(image, [*padding, (0, 0)], mode="reflect")
    rules = {"norm_stats": "instance", "dropout": True} | rules
    step = jax.jit(make_translate_step(generator, **rules))
    output = step(variables_of(generator), padded[None], KEY[None])
    return np.asarray(output)[0, : image.shape[0], : image.shape[1]]


@pytest.mark.parametrize(
    ("generator", "side", "depth"),
    [
        (UNET, 128, 4),
        pytest.param(
            *(UNetGenerator(features=4, num_downs=5, norm="instance", decoder_activation="before_concat"), 64, 3),
            marks=pytest.mark.heavy,  # as is all that the others cover but for a branch
        ),
        # 64 channels, in groups of two.
        pytest.param(
            *(UNetGenerator(features=8, num_downs=5, norm="group", dropout_layers=(1, 2, 3, 4)), 64, 2),
            marks=pytest.mark.heavy,
        ),
        (RESNET, 64, 2),
        pytest.param(RESNET, 128, 0, marks=pytest.mark.heavy),
    ],
    ids=["batch", "instance", "group and outer dropout", "resnet", "resnet in tiles alone"],
)
def test_one_pass_and_tiles_equal_the_network_on_the_padded_picture(generator, side, depth):
    image = picture((145, 170))
    programs = programs_of(generator)
    expected = reference(generator, image, programs.multiple)
    assert expected.std() > 0.1
    np.testing.assert_allclose(one_pass(programs, image), expected, atol=1e-4)
    np.testing.assert_allclose(tiled(programs, image, side, depth), expected, atol=1e-4)


@pytest.fixture(scope="module")
def unet():
    return programs_of(UNET)


@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 200), width=st.integers(1, 200), seed=st.integers(0, 9))
def test_any_size_in_tiles_equals_one_pass(unet, height, width, seed):
    image = picture((height, width), seed)
    whole, parts = one_pass(unet, image), tiled(unet, image, 128, 4)
    assert whole.shape == parts.shape == (height, width, 3)
    np.testing.assert_allclose(parts, whole, atol=1e-4)


def test_running_statistics_need_no_passes_of_their_own():
    image = picture((100, 130))
    programs = programs_of(UNET, norm_stats="running", dropout=False)
    assert programs.norms(4) == ((), ())
    expected = reference(UNET, image, 32, norm_stats="running", dropout=False)
    np.testing.assert_allclose(tiled(programs, image, 128, 4), expected, atol=2e-3)  # activations of thousands


def test_the_context_is_as_small_as_it_can_be(unet, monkeypatch):
    image = picture((145, 170))
    whole = one_pass(unet, image)
    assert unet.context(4) == 32
    monkeypatch.setattr(unet, "context", lambda depth: 16)
    assert np.abs(tiled(unet, image, 128, 4) - whole).max() > 1e-3


def test_few_windows_hold_all_sizes():
    sides = {bucket((side, 1), 256)[0] for side in range(1, 4097)}
    assert sorted(sides) == [256, 512, 1024, 1536, 2048, 3072, 4096]
    assert all(bucket((side, 1), 256)[0] >= side for side in range(1, 4097))


def test_rows_spread_over_devices_change_nothing(unet):
    image = picture((150, 170))
    spread = programs_of(UNET, rows=4)
    np.testing.assert_allclose(one_pass(spread, image), one_pass(unet, image), atol=1e-5)
