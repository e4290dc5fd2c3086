"""Presets: each published system by name, from any config and back."""

import pytest

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.configuration import presets


def load(*overrides: str, spec: str = "facades"):
    return config_lib.load(spec, [f"--config.{override}" for override in overrides])


def test_the_default_is_pytorch_cyclegan_and_pix2pix():
    assert config_lib.flatten(load("preset=pytorch")) == config_lib.flatten(load())


def test_presets_set_the_same_fields():
    fields = {frozenset(preset) for preset in presets.PRESETS.values()}
    assert len(fields) == 1


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_preset_sets_its_fields_and_no_others(name):
    config = config_lib.flatten(load(f"preset={name}", spec="edges2shoes"))
    before = config_lib.flatten(load(spec="edges2shoes"))
    for field, value in config.items():
        expected = presets.PRESETS[name].get(field, name if field == "preset" else before[field])
        assert value == expected, field


def test_other_overrides_win_wherever_they_stand():
    for overrides in (("preset=tf_tutorial", "eps=1e-6"), ("eps=1e-6", "preset=tf_tutorial")):
        config = load(*overrides)
        assert (config.eps, config.norm_epsilon, config.generator.slope) == (1e-6, 1e-3, 0.3)


@pytest.mark.parametrize("name", presets.PRESETS)
def test_configs_of_the_presets_lead_back_to_the_default(name):
    assert load(spec=name).preset == name
    back = config_lib.flatten(load("preset=pytorch", spec=name))
    assert back | {"num_steps": None} == config_lib.flatten(load())


def test_what_the_systems_are_known_for():
    paper, tutorial = load("preset=torch2017"), load("preset=tf_tutorial")
    assert paper.generator.dropout_layers == tutorial.generator.dropout_layers == (1, 2, 3)
    assert paper.d_loss_scale == tutorial.d_loss_scale == 1
    assert paper.schedule == tutorial.schedule == "constant"
    assert tutorial.generator.bottleneck_norm and not paper.generator.bottleneck_norm
