"""What the page draws with follows from the data set, and where it is not known from the pictures."""

import json

import numpy as np
import pytest

from pix2pix_jax import config as config_lib
from pix2pix_jax.data.sources.drawn_facades.draw import LABELS, draw_pair
from pix2pix_jax.demo import brushes, examples
from pix2pix_jax.errors import UserError


@pytest.fixture(scope="module")
def label_maps():
    return [draw_pair(0, i, (64, 64))[1] for i in range(3)]


@pytest.fixture(scope="module")
def photos():
    return [draw_pair(0, i, (64, 64))[0] for i in range(3)]


def folder(*overrides):
    return config_lib.load("folder", ["--config.data_dir=none", *overrides])


def sketches(paper=255):
    pictures = np.full((3, 64, 64, 3), paper, np.uint8)
    pictures[:, 10:50, 20] = pictures[:, 30, 5:60] = 255 - paper
    return [
        *np.where(np.random.default_rng(0).random(pictures.shape[:3] + (1,)) < 0.05, 128, pictures).astype(np.uint8)
    ]


def test_the_palette_of_a_known_set(label_maps):
    config = config_lib.load("drawn_facades")
    for pictures in (label_maps, []):
        chosen = brushes.choose(config, pictures)
        assert chosen.kind == "labels" and chosen.colours == LABELS
    assert brushes.choose(config, label_maps).paper == LABELS["facade"]


def test_cityscapes_without_its_files():
    chosen = brushes.choose(config_lib.load("cityscapes_labels2photo"), [])
    assert chosen.kind == "labels" and len(chosen.colours) == 20
    assert chosen.colours["road"] == (128, 64, 128) and chosen.colours["unlabelled"] == (0, 0, 0)
    assert brushes.choose(config_lib.load("cityscapes_photo2labels"), []).kind == "photo"


def test_the_photographs_of_a_known_set_have_no_palette(photos):
    config = config_lib.load("drawn_facades", ["--config.direction=AtoB"])
    assert brushes.choose(config, photos).kind == "photo"


def test_label_maps_in_a_folder_are_recognised(label_maps):
    noisy = [(x.astype(int) + np.random.default_rng(0).integers(-9, 10, x.shape)).clip(0, 255) for x in label_maps]
    assert brushes.choose(folder(), [x.astype(np.uint8) for x in noisy]).colours == LABELS


def test_flat_colours_are_a_palette_of_their_own():
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:40], picture[:10, :10] = (200, 30, 90), (7, 8, 9)
    chosen = brushes.choose(folder(), [picture])
    assert list(chosen.colours) == ["#c81e5a", "#000000", "#070809"] and chosen.paper == (200, 30, 90)
    assert brushes.choose(folder(), [picture], "none").kind == "photo"


@pytest.mark.parametrize("paper", [255, 0])
def test_lines_are_drawn_with_ink_on_their_paper(paper):
    chosen = brushes.choose(folder(), sketches(paper))
    assert (chosen.kind, chosen.paper) == ("edges", (paper,) * 3)
    assert list(chosen.colours.values()) == [(255 - paper,) * 3, (paper,) * 3]


def test_one_channel_of_lines():
    pictures = [picture[..., :1] for picture in sketches()]
    assert brushes.choose(folder("--config.input_channels=1"), pictures).kind == "edges"
    assert brushes.choose(folder("--config.input_channels=1"), []).kind == "edges"


def test_photographs_have_free_colours(photos):
    assert brushes.choose(folder(), photos).kind == "photo"
    assert brushes.choose(config_lib.load("colorization", ["--config.data_dir=none"]), photos).kind == "photo"
    assert brushes.choose(folder(), []).kind == "photo"


def test_a_palette_of_ones_own(tmp_path, label_maps):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"wall": [0, 48, 255], "rest": [0, 0, 223], "void": [[0, 128, 255]]}))
    chosen = brushes.choose(folder(), label_maps, str(path))
    assert list(chosen.colours) == ["wall", "rest", "unlabelled"] and chosen.paper == (0, 48, 255)
    path.write_text(json.dumps({"a": [9, 99, 9], "b": [99, 9, 9]}))
    with pytest.raises(UserError, match="does not fit"):
        brushes.choose(folder(), label_maps, str(path))


def test_examples_come_from_an_evaluation_or_samples_where_the_data_are_gone(trained, model, tmp_path):
    own = examples.find(model.config, trained)
    config = config_lib.load("default", [])
    config.update({"image_size": (32, 32), "dataset": "folder", "data_dir": str(tmp_path / "gone")})
    assert examples.find(config, tmp_path) == []
    of_samples = examples.find(config, trained)
    assert len(of_samples) == 2 and np.array_equal(of_samples[0], own[0]) and np.array_equal(of_samples[1], own[1])


def test_examples_of_a_published_set_are_not_downloaded(tmp_path):
    config = config_lib.load("facades", [f"--config.data_dir={tmp_path}", "--config.data_url=file:///nowhere"])
    assert examples.find(config, tmp_path) == []
    assert list(tmp_path.iterdir()) == []
