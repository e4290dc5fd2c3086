"""Pictures at their own size: whole, in windows and in tiles, against the network on the padded picture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pix2pix_jax.data.color import COLOR_SPACES
from pix2pix_jax.data.files.value_range import ValueRange
from pix2pix_jax.gan.train_step import make_translate_step
from pix2pix_jax.inference.native import ArrayPicture, NativeTranslator, Tiles, bucket, context
from pix2pix_jax.models import ResNetGenerator, UNetGenerator

VALUES = ValueRange.of("float32", (-1, 1))
KEY = jax.random.key(3)
UNET, RESNET = UNetGenerator(features=4, num_downs=5), ResNetGenerator(features=4, num_blocks=1)


def variables_of(generator):
    """Returns variables with larger kernels than the initial ones, so that outputs use all of [-1, 1]."""
    variables = generator.init({"params": jax.random.key(0), "dropout": KEY}, jnp.zeros((1, 32, 32, 3)))
    return jax.tree.map(lambda x: x * 8 if x.ndim == 4 else x, variables)


def translator(generator, **options):
    rules = {"norm_stats": "instance", "dropout": True} | options
    multiple = 32 if isinstance(generator, UNetGenerator) else 4
    return NativeTranslator(
        generator,
        variables_of(generator),
        color=COLOR_SPACES["rgb"],
        values=(VALUES, VALUES),
        multiple=multiple,
        platform="cpu",
        **rules,
    )


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
    ("generator", "tiles"),
    [
        (UNET, Tiles(128, 64)),
        (UNetGenerator(features=4, num_downs=5, norm="instance", decoder_activation="before_concat"), Tiles(128, 64)),
        (UNetGenerator(features=4, num_downs=5, norm="group", dropout_layers=(1, 2, 3, 4)), Tiles(128, 64)),
        (RESNET, Tiles(64, 16)),
    ],
    ids=["batch", "instance", "group and outer dropout", "resnet"],
)
def test_whole_and_tiled_equal_the_network_on_the_padded_picture(generator, tiles):
    image = picture((145, 170))
    ours = translator(generator)
    expected = reference(generator, image, ours.multiple)
    assert expected.std() > 0.1
    whole = ours.whole(ArrayPicture(image), KEY)
    np.testing.assert_allclose(whole, expected, atol=1e-4)
    tiled = np.concatenate(list(ours.tiled(ArrayPicture(image), KEY, tiles)))
    np.testing.assert_allclose(tiled, expected, atol=1e-4)


@pytest.fixture(scope="module")
def unet():
    return translator(UNET)


@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 200), width=st.integers(1, 200), seed=st.integers(0, 9))
def test_any_size_tiled_equals_whole(unet, height, width, seed):
    image = picture((height, width), seed)
    whole = unet.whole(ArrayPicture(image), KEY)
    tiled = np.concatenate(list(unet.tiled(ArrayPicture(image), KEY, Tiles(128, 64))))
    assert whole.shape == tiled.shape == (height, width, 3)
    np.testing.assert_allclose(tiled, whole, atol=1e-4)


def test_running_statistics_need_no_passes_of_their_own():
    image = picture((100, 130))
    ours = translator(UNET, norm_stats="running", dropout=False)
    assert ours.norms == ((), ())
    expected = reference(UNET, image, 32, norm_stats="running", dropout=False)
    tiled = np.concatenate(list(ours.tiled(ArrayPicture(image), KEY, Tiles(128, 64))))
    np.testing.assert_allclose(tiled, expected, atol=2e-3)  # untrained statistics: activations of thousands


def test_an_overlap_below_the_context_shows(unet):
    """The context is as small as it can be: with half of it tiles differ from the whole."""
    image = picture((145, 170))
    whole = unet.whole(ArrayPicture(image), KEY)
    assert context(UNET, unet.depth) == 32
    tiled = np.concatenate(list(unet.tiled(ArrayPicture(image), KEY, Tiles(128, 32))))
    assert np.abs(tiled - whole).max() > 1e-3


def test_few_buckets_hold_all_sizes():
    sides = {bucket(side, 256) for side in range(1, 4097)}
    assert sorted(sides) == [256, 512, 768, 1024, 1536, 2048, 3072, 4096]
    assert all(bucket(side, 256) >= side for side in range(1, 4097))
