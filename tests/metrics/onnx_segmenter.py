"""A segmentation network as an ONNX file, for tests: it knows a class by its colour, as the palette does."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pix2pix_jax.metrics import labels

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
