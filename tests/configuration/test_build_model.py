"""From config fields to the networks and steps they name."""

import dataclasses
import functools
import inspect
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.configuration import build_model
from pix2pix_jax.data import color
from pix2pix_jax.data.augment import Augmentation
from pix2pix_jax.errors import UserError
from pix2pix_jax.gan.objective import Objective
from pix2pix_jax.gan.optimizers import make_adam, make_schedule
from pix2pix_jax.gan.state import create_train_state
from pix2pix_jax.gan.train_step import StepOptions, make_translate_step
from pix2pix_jax.inference import trained_model
from pix2pix_jax.models import MultiScaleDiscriminator, PatchDiscriminator, ResNetGenerator, UNetGenerator
from pix2pix_jax.models.norms import BatchNorm, InstanceNorm
from pix2pix_jax.training import train

GENERATORS = {
    "generator.skips=False": ("skips", False),
    "generator.dropout_layers=1,2": ("dropout_layers", (1, 2)),
    "generator.bottleneck_norm=True": ("bottleneck_norm", True),
    "generator.decoder_activation=before_concat": ("decoder_activation", "before_concat"),
    "generator.slope=0.3": ("slope", 0.3),
    "generator.bias=always": ("bias", "always"),
    "generator.norm=group": ("norm", "group"),
    "norm_epsilon=0.001": ("norm_epsilon", 0.001),
    "norm_momentum=0.99": ("norm_momentum", 0.99),
    "norm_scale_std=0": ("norm_scale_std", 0),
    "target_channels=5": ("out_channels", 5),
    "compute_dtype=bfloat16": ("dtype", jnp.bfloat16),
}
DISCRIMINATORS = {
    "discriminator.padding=reflect": ("padding", "reflect"),
    "discriminator.conditional=False": ("conditional", False),
    "discriminator.spectral_norm=True": ("spectral_norm", True),
    "discriminator.num_layers=5": ("num_layers", 5),
    "discriminator.slope=0.3": ("slope", 0.3),
    "discriminator.bias=never": ("bias", "never"),
    "norm_epsilon=0.001": ("norm_epsilon", 0.001),
}


def load(*overrides: str):
    return config_lib.load("default", [f"--config.{override}" for override in overrides])


def test_the_defaults_are_those_of_the_modules():
    """Nobody who imports a module gets another network than one who trains."""
    config = load("generator.num_downs=8")
    assert build_model.build_generator(config) == UNetGenerator(dtype=jnp.dtype("float32"))
    assert build_model.build_discriminator(config) == PatchDiscriminator(dtype=jnp.dtype("float32"))
    assert Objective.from_config(config) == Objective()
    assert build_model.build_augmentation(config) == Augmentation()
    config = load("input_dtype=uint8", "target_dtype=uint8")
    options = dataclasses.replace(build_model.build_step_options(config), values={})
    assert options == StepOptions(seed=config.seed, image_size=(256, 256))


def test_the_defaults_are_those_of_the_optimisers():
    config = load()
    named = {name: config[name] for name in ("b1", "b2", "eps")}
    assert named == {name: inspect.signature(make_adam).parameters[name].default for name in named}
    drop = inspect.signature(make_schedule).parameters["drop_every"].default
    assert config.schedule_drop_epochs == drop


def test_the_defaults_are_those_of_the_functions_and_norms():
    config = load()
    translate = inspect.signature(make_translate_step).parameters
    assert translate["norm_stats"].default == config.inference.norm_stats
    assert translate["dropout"].default == (config.inference.dropout == "on")
    create = inspect.signature(create_train_state).parameters
    assert [create[name].default for name in ("input_channels", "target_channels")] == [3, 3]
    assert (config.input_channels, config.target_channels) == (3, 3)
    norm = BatchNorm(epsilon=config.norm_epsilon, momentum=config.norm_momentum, scale_std=config.norm_scale_std)
    assert BatchNorm() == norm and InstanceNorm() == InstanceNorm(epsilon=config.norm_epsilon)
    assert ResNetGenerator(dtype=jnp.dtype("float32")) == build_model.build_generator(load("generator.name=resnet"))


def test_a_config_is_checked_without_the_networks_of_metrics():
    heavy = {f"pix2pix_jax.{name}" for name in ("io.pth", "io.torch_pickle", "metrics.inception", "metrics.lpips")}
    program = f"import sys, pix2pix_jax.configuration; print(*{heavy!r}.intersection(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == ""


@pytest.mark.parametrize("override", GENERATORS)
def test_fields_reach_the_generator(override):
    field, value = GENERATORS[override]
    assert getattr(build_model.build_generator(load(override)), field) == value


@pytest.mark.parametrize("override", DISCRIMINATORS)
def test_fields_reach_the_discriminator(override):
    field, value = DISCRIMINATORS[override]
    assert getattr(build_model.build_discriminator(load(override)), field) == value


def test_other_networks():
    resnet = build_model.build_generator(load("generator.name=resnet", "generator.num_blocks=6", "generator.dropout=0"))
    assert isinstance(resnet, ResNetGenerator) and (resnet.num_blocks, resnet.dropout) == (6, 0)
    scales = build_model.build_discriminator(load("discriminator.num_scales=3", "discriminator.norm=instance"))
    assert isinstance(scales, MultiScaleDiscriminator) and (scales.num_scales, scales.norm) == (3, "instance")


@pytest.mark.parametrize("group", ["objective", "augmentation"])
def test_every_field_reaches(group):
    config = load("input_dtype=uint8", "target_dtype=uint8").unlock()
    kind, fields, build = {
        "objective": (Objective, config, lambda config: Objective.from_config(config, perceptual=jnp.subtract)),
        "augmentation": (Augmentation, config.augment, build_model.build_augmentation),
    }[group]
    values = {
        field.name: {bool: True, str: "lsgan"}.get(type(field.default), 0.25)
        for field in dataclasses.fields(kind)
        if field.name != "perceptual"  # a function
    }
    fields.update(values)
    assert values.items() <= vars(build(config)).items()


def test_every_field_reaches_the_step():
    config = load("input_dtype=uint8", "target_dtype=uint16", "target_interpolation=nearest", "mirror=False", "seed=3")
    config.update({"update_order": "simultaneous", "accumulate_steps": 2, "remat": True, "ema_decay": 0.9})
    options = build_model.build_step_options(config)
    assert {name: value.dtype for name, value in options.values.items()} == {"input": "uint8", "target": "uint16"}
    assert dataclasses.replace(options, values={}) == StepOptions(
        seed=3,
        image_size=(256, 256),
        mirror=False,
        nearest=("target",),
        update_order="simultaneous",
        accumulate_steps=2,
        remat=True,
        ema_decay=0.9,
    )


@pytest.mark.parametrize("channels", [(1, 1), (4, 2), (7, 1)])
def test_any_number_of_channels(channels):
    config = load(f"input_channels={channels[0]}", f"target_channels={channels[1]}")
    parts = build_model.build_parts(config, num_examples=1)
    state = jax.eval_shape(functools.partial(build_model.create_state, config, parts))
    assert state.generator.params["down0"]["kernel"].shape[2] == channels[0]
    assert state.generator.params["up0"]["kernel"].shape[3] == channels[1]
    assert state.discriminator.params["conv0"]["kernel"].shape[2] == sum(channels)


def test_without_gan_loss_the_discriminator_rests(tiny_config):
    config = tiny_config("--config.gan_weight=0")
    parts = build_model.build_parts(config, num_examples=10)
    state = jax.jit(functools.partial(build_model.create_state, config, parts))()
    batch = {name: np.full((2, 36, 36, 3), 100, np.uint8) for name in ("input", "target")}
    after, metrics = jax.jit(build_model.build_train_step(config, parts))(state, batch)
    jax.tree.map(np.testing.assert_array_equal, after.discriminator, state.discriminator)
    assert metrics.keys() == {"g_l1"}
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), after.generator.params, state.generator.params)
    assert max(jax.tree.leaves(moved)) > 0


def test_colourisation_sees_lightness_alone(tiny_config, tmp_path):
    config = tiny_config("--config.color_space=lab", "--config.num_steps=2", "--config.inference.dropout=off")
    state = train.train(config, tmp_path)
    assert state.generator.params["down0"]["kernel"].shape[2] == 1
    assert state.generator.params["up0"]["kernel"].shape[3] == 2
    model = trained_model.load(tmp_path)
    photo = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    answer = model.translate(photo)
    assert (answer.shape, answer.dtype) == (photo.shape, np.uint8)
    grey = np.asarray(color.grey(photo / np.float32(127.5) - 1))
    np.testing.assert_allclose(model.translate(grey), answer / np.float32(127.5) - 1, atol=0.02)
    # What can be shown keeps its lightness.
    lightness = [color.split(x / np.float32(127.5) - 1)[0] for x in (photo, answer)]
    assert np.median(np.abs(lightness[0] - lightness[1])) < 0.02


@pytest.mark.parametrize("field", ["perceptual_weight", "discriminator.vision_aided"])
def test_alexnet_sees_rgb_images_of_some_size(field):
    for override in ("target_channels=1", "image_size=16,16"):
        with pytest.raises(UserError, match=rf"config\.{field}: LPIPS' AlexNet sees RGB images of at least 32"):
            load(f"{field}=1", "resize_size=20,20", "discriminator.num_layers=1", override)


@pytest.mark.parametrize("num_scales", [1, 2])
@pytest.mark.parametrize("vision_aided", [False, True])
def test_judges_are_counted_as_the_discriminator_answers(vision_aided, num_scales):
    config = load(f"discriminator.vision_aided={vision_aided}", f"discriminator.num_scales={num_scales}")
    image = jax.ShapeDtypeStruct((1, 256, 256, 3), "float32")
    model = build_model.build_discriminator(config)
    logits, _ = jax.eval_shape(lambda *images: model.init_with_output(jax.random.key(0), *images), image, image)
    assert len(jax.tree.leaves(logits)) == build_model.count_judges(config) == num_scales + 3 * vision_aided


def test_lpips_is_built_where_it_weighs():
    assert build_model.build_parts(load("perceptual_weight=1"), num_examples=1).objective.perceptual
    assert not build_model.build_parts(load(), num_examples=1).objective.perceptual


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("generator.name=resnet", "color_space=lab", "generator.norm=instance"),
        ("discriminator.spectral_norm=True", "discriminator.num_scales=2", "input_channels=4"),
    ],
)
def test_abstract_variables_are_those_of_the_state(fields):
    config = load("image_size=64,64", "resize_size=72,72", "generator.features=8", "discriminator.features=8", *fields)
    parts = build_model.build_parts(config, num_examples=1)
    state = jax.eval_shape(functools.partial(build_model.create_state, config, parts))
    assert build_model.abstract_variables(config) == state.generator.variables
    assert build_model.abstract_variables(config, "discriminator") == state.discriminator.variables
