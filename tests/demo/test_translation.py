"""One drawing at a time, and of those that wait the newest."""

import copy
import dataclasses
import functools
import threading

import jax
import numpy as np
import pytest

from pix2pix_jax.config import build_model
from pix2pix_jax.demo.translation import Drawings, Newest, SupersededError
from pix2pix_jax.errors import UserError
from pix2pix_jax.inference.trained_model import TrainedModel


def test_the_newest_of_those_that_wait_is_served():
    newest, running, done = Newest(), threading.Event(), threading.Event()
    results = {}

    def first():
        running.set()
        done.wait(10)
        return "first"

    def ask(name, action):
        try:
            results[name] = newest.run(action)
        except SupersededError:
            results[name] = "superseded"

    threads = [threading.Thread(target=ask, args=(0, first))]
    threads[0].start()
    assert running.wait(10)
    for number in (1, 2, 3):
        threads.append(threading.Thread(target=ask, args=(number, lambda number=number: number)))
        threads[-1].start()
        if number > 1:
            threads[-2].join(10)  # the one that waited before is dropped at once
            assert results[number - 1] == "superseded"
    done.set()
    for thread in threads:
        thread.join(10)
    assert results == {0: "first", 1: "superseded", 2: "superseded", 3: 3}


def test_an_error_frees_the_place():
    newest = Newest()
    with pytest.raises(ZeroDivisionError):
        newest.run(lambda: 1 / 0)
    assert newest.run(lambda: "next") == "next"


@pytest.fixture(scope="module")
def dropping(tiny_config):
    """An untrained model that has dropout."""
    config = tiny_config("--config.generator.dropout_layers=1,2")
    state = jax.jit(
        functools.partial(build_model.create_state, config, build_model.build_parts(config, num_examples=1))
    )()
    return TrainedModel(config=config, variables=build_model.inference_variables(config, state), step=0)


def test_dropout_follows_the_seed_and_not_the_drawing(dropping):
    """That of `translate` follows the picture; here a stroke leaves the grain of all else."""
    drawings = Drawings(dropping)
    assert drawings.has_dropout()
    for drawing in (np.zeros(drawings.shape, np.uint8), np.full(drawings.shape, 99, np.uint8)):
        served = np.frombuffer(drawings.translate(drawing.tobytes(), 5), np.uint8).reshape(drawings.shape)
        expected = dropping.translate_resized(drawing[None], seed=5, ids=np.zeros(1, np.uint32))[0]
        np.testing.assert_allclose(served, (expected + 1) * 127.5, atol=0.51)
        assert (served != drawings.translate_array(drawing, 6)).any()


def test_no_dice_without_dropout(model):
    assert not Drawings(model).has_dropout()


def test_models_of_other_channels_are_refused(model):
    config = copy.deepcopy(model.config)
    config.input_channels = 5
    with pytest.raises(UserError, match="input_channels=5"):
        Drawings(dataclasses.replace(model, config=config))
