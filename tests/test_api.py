"""The library: what a program or a notebook calls, and what the command line calls too."""

import json
import pathlib

import numpy as np
import pytest
from conftest import TINY
from PIL import Image

import pix2pix_jax
from pix2pix_jax import configuration
from pix2pix_jax.runtime import exits

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), np.uint8)


@pytest.fixture(scope="module")
def config():
    """config(field=value, ...): that of a run of seconds, on data that are handed over."""

    def config(**fields):
        made = configuration.load("default", TINY)
        made.update({"direction": "AtoB", "num_steps": 3, "eval_every_steps": 0} | fields)
        return made

    return config


def losses(workdir):
    lines = [json.loads(line) for line in (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()]
    return [line["g_l1"] for line in lines if "g_l1" in line]


class Torchlike:
    """A data set as PyTorch's: a length and pairs by index."""

    def __len__(self):
        return len(PIXELS)

    def __getitem__(self, index):
        return Image.fromarray(PIXELS[index]), 255 - PIXELS[index]


class Columnlike(list):
    """As a column of a Hugging Face data set, whose elements are PIL images."""


def grainlike():
    import grain

    return grain.MapDataset.source(Torchlike()).map(lambda pair: {"A": np.asarray(pair[0]), "B": pair[1]})


DATA = {
    "two arrays": lambda: (PIXELS, 255 - PIXELS),
    "data set of PyTorch": Torchlike,
    "list of pairs": lambda: [(x, 255 - x) for x in PIXELS],
    "data set of Grain": grainlike,
    "columns": lambda: (Columnlike(map(Image.fromarray, PIXELS)), Columnlike(map(Image.fromarray, 255 - PIXELS))),
}


@pytest.fixture(scope="module")
def by_arrays(config, tmp_path_factory):
    """The workdir of a run on two arrays. Not to be written to."""
    workdir = tmp_path_factory.mktemp("given") / "run"
    model = pix2pix_jax.train(config(), workdir, data=(PIXELS, 255 - PIXELS))
    assert model.step == 3
    return workdir


@pytest.mark.parametrize("kind", list(DATA)[1:])
def test_any_sequence_of_pairs_trains_as_two_arrays_do(config, by_arrays, tmp_path, kind):
    model = pix2pix_jax.train(config(), tmp_path, data=DATA[kind]())
    assert losses(tmp_path) == losses(by_arrays) and len(losses(tmp_path)) >= 1
    assert model.config.dataset == "given"


@pytest.mark.heavy
def test_other_splits_are_validated_and_evaluated(config, tmp_path):
    data = {"train": (PIXELS, 255 - PIXELS), "validation": (PIXELS[:3], 255 - PIXELS[:3])}
    pix2pix_jax.train(config(eval_every_steps=3), str(tmp_path), data=data)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    (validated,) = [line["val/l1"] for line in lines if "val/l1" in line]
    result = pix2pix_jax.evaluate(tmp_path, data=data)
    assert len(result.images) == 3 and result.mean["l1"] == pytest.approx(validated, rel=1e-4)
    alone = pix2pix_jax.evaluate(tmp_path, data=data["validation"], metrics=("l1",), output=str(tmp_path / "alone"))
    assert alone.mean["l1"] == result.mean["l1"] and (tmp_path / "alone" / "index.html").exists()
    with pytest.raises(pix2pix_jax.UserError, match="has no test"):
        pix2pix_jax.evaluate(tmp_path, data=data, split="test")


def test_a_run_goes_on_with_its_data_and_with_no_others(config, tmp_path):
    data = (PIXELS, 255 - PIXELS)
    pix2pix_jax.train(config(num_steps=2), tmp_path, data=data)
    other = PIXELS.copy()
    other[4, 7, 7, 1] ^= 1
    for changed, words in (((PIXELS[:5], 255 - PIXELS[:5]), "removed"), ((other, 255 - PIXELS), "train/4")):
        with pytest.raises(pix2pix_jax.UserError, match=f"other training data.*{words}"):
            pix2pix_jax.train(config(), tmp_path, data=changed)
    assert pix2pix_jax.train(config(), tmp_path, data=data).step == 3
    with pytest.raises(pix2pix_jax.UserError, match="hand them over again: data="):
        pix2pix_jax.train(config(dataset="given"), tmp_path)


def test_the_command_line_translates_with_such_a_run_but_cannot_evaluate_it(run, by_arrays, tmp_path):
    Image.fromarray(PIXELS[0]).save(tmp_path / "one.png")
    code, _, _ = run("translate", f"--workdir={by_arrays}", f"--input={tmp_path}/one.png", f"--output={tmp_path}/out")
    assert code == 0
    (file,) = pix2pix_jax.translate(by_arrays, tmp_path / "one.png", tmp_path / "called")
    assert file.read_bytes() == (tmp_path / "out" / "one.png").read_bytes()
    code, _, stderr = run("evaluate", f"--workdir={by_arrays}", f"--output={tmp_path}/eval")
    assert code == exits.EXIT_USER_ERROR and "a program holds the data" in stderr


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((PIXELS, PIXELS[:4]), "6 images A and 4 images B"),
        ((PIXELS[:0], PIXELS[:0]), "no pairs"),
        (iter([]), "has no length"),
        ([PIXELS[0]], "must be a pair"),
        ([{"image": PIXELS[0], "mask": PIXELS[0]}], "has image, mask; name its images A and B"),
        ((np.moveaxis(PIXELS, -1, 1), PIXELS), r"shape \(3, 40, 40\); channels come last"),
        ((PIXELS.astype(np.float32) / 255, PIXELS), "config.input_range: unset"),
        ((PIXELS[..., 0, 0], PIXELS), r"must be an image \(H, W, C\)"),
        ({"val": (PIXELS, PIXELS)}, "has no train, only val"),
        ([("no/such.png", "no/such.png")], "no/such.png"),
    ],
)
def test_data_that_cannot_be_used(config, tmp_path, data, words):
    with pytest.raises(pix2pix_jax.UserError, match=words):
        pix2pix_jax.train(config(), tmp_path / "run", data=data)
    assert not (tmp_path / "run").exists()


def test_a_config_is_that_of_the_command_line():
    made = pix2pix_jax.config("facades", batch_size=4, generator={"features": 32}, eval_metrics=["l1"], learning_rate=1)
    flags = ("batch_size=4", "generator.features=32", "eval_metrics=l1", "learning_rate=1")
    loaded = configuration.load("facades", [f"--config.{flag}" for flag in flags])
    assert configuration.flatten(made) == configuration.flatten(loaded)
    by_preset = pix2pix_jax.config(preset="tf_tutorial", eps=1e-6)
    flags = ("--config.preset=tf_tutorial", "--config.eps=1e-6")
    assert configuration.flatten(by_preset) == configuration.flatten(configuration.load("default", flags))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"generator": {"featurs": 8}},
            "config.generator.featurs: no such field; did you mean config.generator.features",
        ),
        ({"batchsize": 8}, "config.batchsize: no such field; did you mean config.batch_size"),
        ({"generator": 8}, "config.generator: 8; is a group of fields"),
        ({"batch_size": "8"}, "config.batch_size: '8'; must be a whole number"),
        ({"image_size": (100, 100)}, "config.image_size"),
    ],
)
def test_a_mistake_in_a_field(fields, words):
    with pytest.raises(pix2pix_jax.UserError, match=words):
        pix2pix_jax.config(**fields)


def test_completion_shows_the_public_names_only():
    assert dir(pix2pix_jax) == sorted([*pix2pix_jax.__all__, "__version__"])
    assert all(callable(getattr(pix2pix_jax, name)) for name in pix2pix_jax.__all__)
