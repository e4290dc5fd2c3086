"""Programs of StableHLO, beside the models that they were made of."""

import re

import jax
import jax.export
import numpy as np
import pytest

from pix2pix_jax.errors import UserError
from pix2pix_jax.export import stablehlo_file
from pix2pix_jax.inference import trained_model

RESNET = ("--config.generator.name=resnet", "--config.generator.num_blocks=1")


def steps(model, *arguments, platform: str) -> np.ndarray:
    step = trained_model.make_translate(model.config, platform=platform)
    return np.asarray(jax.jit(step)(model.variables, *arguments))


def call(content: bytes, *arguments) -> np.ndarray:
    return np.asarray(jax.export.deserialize(bytearray(content)).call(*arguments))


@pytest.mark.parametrize(
    "overrides",
    [(), RESNET, ("--config.inference.norm_stats=running",), ("--config.inference.norm_stats=batch",)],
    ids=["unet", "resnet", "running", "batch"],
)
def test_a_program_for_any_size_has_the_bits_of_the_plain_form(overrides, random_model, floats):
    model = random_model(*overrides)
    content = stablehlo_file.serialise(model)
    for size in ((1, 32, 32), (3, 16, 40)):
        images = floats(*size, 3)
        wanted = steps(model, images, np.zeros(len(images), np.uint32), 0, platform="default")
        np.testing.assert_array_equal(call(content, images), wanted)


@pytest.mark.parametrize("overrides", [("--config.color_space=lab",), RESNET], ids=["unet", "resnet"])
def test_a_program_for_one_size_has_the_bits_of_translate(overrides, random_model, floats):
    model = random_model("--config.generator.features=32", *overrides)  # wide enough for the forms by size
    content = stablehlo_file.serialise(model, (64, 64))
    images = floats(8, 64, 64, 3)
    np.testing.assert_array_equal(call(content, images), model.translate_resized(images))
    np.testing.assert_array_equal(call(content, images[:1]), model.translate_resized(images)[:1])
    with pytest.raises(ValueError, match="64"):
        call(content, floats(1, 32, 32, 3))


def test_with_dropout_a_program_draws_what_translate_draws(random_model):
    model = random_model("--config.inference.dropout=on", "--config.generator.dropout_layers=1,2")
    content = stablehlo_file.serialise(model, (32, 32))
    images = np.random.RandomState(0).randint(0, 256, (2, 32, 32, 3), np.uint8)
    ids = trained_model.picture_ids(images, model.input_values)
    inputs = images / np.float32(127.5) - 1
    found = [call(content, inputs, ids, np.int32(seed)) for seed in (0, 1)]
    np.testing.assert_array_equal(found[1], steps(model, inputs, ids, np.int32(1), platform="cpu"))
    np.testing.assert_allclose(found[1], model.translate_resized(images, seed=1), atol=1e-5)
    assert np.abs(found[0] - found[1]).mean() > 0.01


def test_a_file_is_of_all_platforms(random_model):
    for size in (None, (32, 32)):
        content = stablehlo_file.serialise(random_model(), size)
        program = jax.export.deserialize(bytearray(content))
        assert program.platforms == ("cpu", "cuda", "tpu")
        assert not re.findall(rb"[\w/.-]{3,}\.py\b", content)  # as the paths of this machine end


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        ("native", (), "--size=native: must be any, model, or height x width"),
        ("36x32", (), "--size=36x32: both sides must be multiples of 8"),
        ("big", (), "--size=big: must be"),
        ("model", ("--config.inference.norm_stats=batch",), "--size=model: with norm_stats batch"),
    ],
)
def test_sizes_that_are_none(text, overrides, words, random_model):
    with pytest.raises(UserError, match=words):
        stablehlo_file.parse_size(text, random_model(*overrides))


def test_sizes(random_model):
    model = random_model()
    assert [stablehlo_file.parse_size(text, model) for text in ("any", "model", "16x24")] == [None, (32, 32), (16, 24)]
