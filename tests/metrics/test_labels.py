"""Label scores against an independent count, and palettes."""

import json

import numpy as np
import pytest
from golden import ANSWERS, cases
from hypothesis import given, settings
from hypothesis import strategies as st

from pix2pix_jax.errors import UserError
from pix2pix_jax.metrics import labels

FACADES, CITYSCAPES = labels.PALETTES["facades"], labels.PALETTES["cityscapes"]


def test_scores_equal_those_of_the_golden_file():
    predicted, actual = cases.label_maps()
    counts = np.asarray(labels.confusion(predicted, actual, cases.CLASSES)).sum(0)
    np.testing.assert_array_equal(counts, ANSWERS["labels/confusion"])
    found = labels.scores(counts)
    assert found["pixel_accuracy"] == pytest.approx(float(ANSWERS["labels/pixel_accuracy"]), rel=1e-12)
    assert found["class_accuracy"] == pytest.approx(float(ANSWERS["labels/class_accuracy"]), rel=1e-12)
    assert found["mean_iou"] == pytest.approx(float(ANSWERS["labels/class_iou"]), rel=1e-12)


def test_nothing_to_score_is_no_number():
    assert np.isnan(list(labels.scores(np.zeros((3, 3))).values())).all()


@pytest.mark.parametrize("palette", labels.PALETTES.values(), ids=list(labels.PALETTES))
@given(seed=st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_classes_are_those_of_the_nearest_colours(palette, seed):
    pictures = np.random.default_rng(seed).integers(0, 256, (1, 9, 7, 3), np.uint8)
    colours = np.array(list(palette.colours.values()))
    squares = ((pictures[..., None, :].astype(int) - colours) ** 2).sum(-1)
    np.testing.assert_array_equal(palette.classes(pictures), squares.argmin(-1))


def test_noise_does_not_change_classes():
    """JPEG's of the published files is about 10; the nearest two classes of cityscapes are bus and train, 20 apart."""
    for palette, noise in ((FACADES, 10), (CITYSCAPES, 5)):
        colours = np.array(list(palette.colours.values()))
        random = np.random.default_rng(0)
        pictures = (colours[:, None, None] + random.integers(-noise, noise + 1, (len(colours), 8, 8, 3))).clip(0, 255)
        found = palette.classes(pictures.astype(np.uint8), with_void=True)
        np.testing.assert_array_equal(found, np.broadcast_to(np.arange(len(colours))[:, None, None], found.shape))


def test_pixels_of_no_class_do_not_count():
    truth = np.array([(0, 0, 0), (128, 64, 128), (70, 130, 180)], np.uint8).reshape(1, 1, 3, 3)
    found = np.array([(128, 64, 128), (128, 64, 128), (128, 64, 128)], np.uint8).reshape(1, 1, 3, 3)
    counts = labels.confusion(CITYSCAPES.classes(found), CITYSCAPES.classes(truth, with_void=True), len(CITYSCAPES))
    assert np.asarray(counts).sum() == 2
    assert labels.scores(counts[0]) == {"pixel_accuracy": 0.5, "class_accuracy": 0.5, "mean_iou": pytest.approx(1 / 4)}


def test_a_palette_that_does_not_fit_says_what_share_is_far():
    label_maps = np.array(list(FACADES.colours.values()), np.uint8).reshape(1, 3, 4, 3)
    assert labels.misfit(FACADES, label_maps) == ""
    grey = np.full((1, 3, 4, 3), 128, np.uint8)
    assert "does not fit the label maps: 100% of their pixels are farther than 32 (of 255)" in labels.misfit(
        FACADES, grey
    )


def test_palettes_of_files(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"sea": [0, 0, 255], "land": [0, 255, 0], "void": [[0, 0, 0]]}))
    palette = labels.find(str(file))
    assert (len(palette), list(palette.colours), palette.void) == (2, ["sea", "land"], ((0, 0, 0),))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": [1, 2]}', '{"a": [1, 2, 3]}', '{"a": [1, 2, 3], "b": [1, 2, 3]}', '{"a": "red", "b": 1}']
)
def test_palettes_that_are_none(tmp_path, text):
    file = tmp_path / "mine.json"
    file.write_text(text)
    with pytest.raises(UserError, match="--palette=.*mine.json"):
        labels.find(str(file))
    with pytest.raises(UserError, match="--palette=faces: neither facades, cityscapes nor"):
        labels.find("faces")
