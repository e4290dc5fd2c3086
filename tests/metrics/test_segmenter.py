"""Scores by a segmentation network, which is made here."""

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_segmenter import COLOURS, INPUTS, label_map, make_segmenter, save

from pix2pix_jax.errors import UserError
from pix2pix_jax.metrics.segmenter import Segmentation, Segmenter


@pytest.mark.parametrize("scale", INPUTS)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("numbers", [True, False])
def test_every_form_of_input_and_output(tmp_path, scale, first, numbers):
    segmenter = Segmenter(make_segmenter(tmp_path / "s.onnx", scale, first=first, numbers=numbers), len(COLOURS))
    expected, picture = label_map()
    np.testing.assert_array_equal(segmenter.classes(picture, (24, 32)), expected)


def test_a_network_of_one_size_gets_pictures_of_it_and_its_answer_is_spread(tmp_path):
    segmenter = Segmenter(make_segmenter(tmp_path / "s.onnx", size=(48, 64)), len(COLOURS))
    expected, picture = label_map()
    found = segmenter.classes(picture, (24, 32))
    assert found.shape == (24, 32) and (found == expected).mean() > 0.7  # borders are mixed by resizing


def test_scores_of_translations_and_their_ceiling(tmp_path):
    segmentation = Segmentation(make_segmenter(tmp_path / "s.onnx"), "facades")
    for seed in range(3):
        _, picture = label_map(seed)
        half = picture.copy()
        half[:, :16] = COLOURS[0]
        segmentation.add(output=half, target=picture, label_map=picture)
    found = segmentation.totals()
    assert found["fcn_real_pixel_accuracy"] == found["fcn_real_class_accuracy"] == found["fcn_real_mean_iou"] == 1
    truth = np.stack([label_map(seed)[0] for seed in range(3)])
    right = (truth[:, :, :16] == 0).sum() + truth[:, :, 16:].size
    assert found["fcn_pixel_accuracy"] == pytest.approx(right / truth.size)
    assert 0 < found["fcn_mean_iou"] < found["fcn_class_accuracy"] < 1


def test_files_that_are_no_such_network(tmp_path):
    value = helper.make_tensor_value_info
    identity = [helper.make_node("Identity", ["image"], ["same"])]
    flat = save(
        tmp_path / "flat.onnx",
        identity,
        inputs=[value("image", TensorProto.FLOAT, ["N", 3])],
        outputs=[value("same", TensorProto.FLOAT, None)],
    )
    grey = save(
        tmp_path / "grey.onnx",
        identity,
        inputs=[value("image", TensorProto.FLOAT, ["N", 1, "H", "W"])],
        outputs=[value("same", TensorProto.FLOAT, None)],
    )
    text = tmp_path / "text.onnx"
    text.write_text("<html>")
    for file, message in (
        (flat, "takes .*not float or uint8 images alone"),
        (grey, "takes .*where the second or the last is to be 3"),
        (str(text), "cannot be read as ONNX"),
        (str(tmp_path / "none.onnx"), "no such file"),
    ):
        with pytest.raises(UserError, match=f"--segmenter={file}: {message}"):
            Segmenter(file, 12)


def test_answers_that_do_not_fit_the_palette(tmp_path):
    _, picture = label_map()
    for options, message in (
        ({"colours": COLOURS[:5]}, "answers float32 of .*where scores of 12 classes"),
        ({"colours": np.concatenate([COLOURS - 300, COLOURS]), "numbers": True}, "but the palette has 12 classes"),
    ):
        segmenter = Segmenter(make_segmenter(tmp_path / "s.onnx", **options), 12)
        with pytest.raises(UserError, match=message):
            segmenter.classes(picture, (24, 32))


def test_a_palette_is_needed_and_has_to_fit(tmp_path):
    file = make_segmenter(tmp_path / "s.onnx")
    with pytest.raises(UserError, match="--segmenter: needs the colours"):
        Segmentation(file, "auto")
    grey = np.full((24, 32, 3), 128, np.uint8)
    with pytest.raises(UserError, match="does not fit the label maps: 100%"):
        Segmentation(file, "facades").add(output=grey, target=grey, label_map=grey)
