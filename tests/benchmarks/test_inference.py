"""benchmarks/inference.py times what `translate` calls."""

import alternate
import bare
import inference
import numpy as np
import pytest


@pytest.mark.heavy
@pytest.mark.parametrize("rules", inference.RULES)
def test_rules_are_measured(rules, tiny_config):
    config = tiny_config("--config.batch_size=8")  # the tests' devices share a batch
    found = inference.measure(config, rules, ["onnxruntime"], rounds=2, seconds=0.01)
    files = {"onnxruntime", "onnxruntime, float16", "onnxruntime, int8"}
    assert found["systems"].keys() == {"pix2pix_jax", "translate()", *files}
    assert dict(config.inference) == {**inference.RULES[rules], "weights": "latest"}
    assert found["left_out"] == {} and found["images"] == 8


def test_the_program_is_that_of_translate(tiny_config):
    model = inference.make_model(tiny_config())
    images = np.zeros((8, 32, 32, 3), np.uint8)
    inference.network(model, images)(2)
    compiled = model._compiled._cache_size()
    model.translate(images)
    assert model._compiled._cache_size() == compiled == 1


def test_a_bare_step_goes_on_from_the_one_before(tiny_config):
    turn = bare.train_step(tiny_config())
    turn(3), turn(2)  # the state that went in is gone: it is that of the turn before
    assert alternate.measure({"step": turn}, rounds=1, seconds=0.01).milliseconds["step"][0] > 0
