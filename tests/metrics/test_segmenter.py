"""Scores by a segmentation network, which is made here: it knows a class by its colour, as the palette does."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pix2pix_jax.errors import UserError
from pix2pix_jax.metrics import labels
from pix2pix_jax.metrics.segmenter import Segmentation, Segmenter

PALETTE = labels.PALETTES["facades"]
COLOURS = np.array(list(PALETTE.colours.values()), np.float32)
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
# What a pixel's value v (0 to 255) is in the network's input: v * slope + offset.
INPUTS = {
    "imagenet": (1 / (255 * STD), -MEAN / STD),
    "0..1": (np.full(3, 1 / 255), np.zeros(3)),
    "0..255": (np.ones(3), np.zeros(3)),
    "-1..1": (np.full(3, 2 / 255), np.full(3, -1.0)),
}


def save(path, nodes, *, inputs, outputs, constants=(), scale=None):
    graph = helper.make_graph(list(nodes), "segmenter", inputs, outputs, [*constants])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if scale:
        helper.set_model_props(model, {"pix2pix.scale": scale})
    onnx.save(model, path)
    return str(path)


def make_segmenter(path, scale="imagenet", *, colours=COLOURS, first=True, numbers=False, size=("H", "W")):
    """A 1x1 convolution whose scores are largest for the nearest colour: 2 v.c - c.c."""
    slope, offset = INPUTS[scale]
    weight = 2 * colours / slope
    bias = -(colours**2).sum(1) - (weight * offset).sum(1)
    constants = [
        numpy_helper.from_array(weight[..., None, None].astype(np.float32), "weight"),
        numpy_helper.from_array(bias.astype(np.float32), "bias"),
    ]
    shape = ["N", 3, *size] if first else ["N", *size, 3]
    nodes = [] if first else [helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2])]
    nodes.append(helper.make_node("Conv", ["image" if first else "planes", "weight", "bias"], ["scores"]))
    if numbers:
        nodes.append(helper.make_node("ArgMax", ["scores"], ["classes"], axis=1, keepdims=0))
    elif not first:
        nodes.append(helper.make_node("Transpose", ["scores"], ["classes"], perm=[0, 2, 3, 1]))
    else:
        nodes.append(helper.make_node("Identity", ["scores"], ["classes"]))
    kind = TensorProto.INT64 if numbers else TensorProto.FLOAT
    return save(
        path,
        nodes,
        inputs=[helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        outputs=[helper.make_tensor_value_info("classes", kind, None)],
        constants=constants,
        scale=None if scale == "imagenet" else scale,
    )


def label_map(seed=0, size=(24, 32)):
    """(class numbers, the picture of them)."""
    numbers = (
        np.random.default_rng(seed).integers(0, len(COLOURS), (size[0] // 4, size[1] // 4)).repeat(4, 0).repeat(4, 1)
    )
    return numbers, COLOURS[numbers].astype(np.uint8)


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
