"""Writes as ONNX graphs what surrounds a generator: stored values to [-1, 1] and back, and colourisation's colours.

It is `data.files.value_range` and `data.color` in other words; images are (N, C, H, W) in between.
"""

from collections.abc import Callable

import numpy as np
from onnx import helper

from pix2pix_jax.data import color
from pix2pix_jax.data.files.value_range import ValueRange
from pix2pix_jax.export.onnx_graph import Graph

FLOAT = helper.np_dtype_to_tensor_dtype(np.dtype("float32"))


def tensor_type(values: ValueRange) -> int:
    """Returns ONNX's number of the dtype of stored values."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(values.dtype))


def from_stored(graph: Graph, image: str, values: ValueRange) -> str:
    """Adds `to_float`: stored values (N, H, W, C) -> float32 (N, C, H, W) in [-1, 1]."""
    graph.path = "stored_to_float"
    x = graph.add("Cast", image, to=FLOAT)
    if not values.is_full:
        x = graph.add("Clip", x, graph.number(values.low, "low"), graph.number(values.high, "high"))
    x = graph.add("Sub", x, graph.number(values.low, "low"))
    x = graph.add("Div", x, graph.number(values.half, "half"))
    x = graph.add("Sub", x, graph.number(1, "one"))
    return graph.add("Transpose", x, perm=[0, 3, 1, 2])


def to_stored(graph: Graph, x: str, values: ValueRange) -> str:
    """Adds `from_float`: float32 (N, C, H, W) in [-1, 1] -> stored values (N, H, W, C)."""
    graph.path = "float_to_stored"
    x = graph.add("Mul", graph.add("Add", x, graph.number(1, "one")), graph.number(values.half, "half"))
    x = graph.add("Add", x, graph.number(values.low, "low"))
    x = graph.add("Round", x) if values.is_integer else x
    low, high = values.stored_limits
    x = graph.add("Clip", x, graph.number(low, "least"), graph.number(high, "most"))
    return graph.add("Transpose", graph.add("Cast", x, to=tensor_type(values)), perm=[0, 2, 3, 1])


def colorized(graph: Graph, image: str, generate: Callable[[str], str]) -> str:
    """Adds `color.Lab.translate`: sRGB in [-1, 1] -> the same with the colours that `generate` makes of lightness."""
    graph.path = "lightness"
    lightness = _mixed(graph, _roots(graph, image), [[0, 116 / 50, 0]], [-16 / 50 - 1], "from_roots")
    colour = generate(lightness)
    graph.path = "colour"
    of_lightness, of_a, of_b = 50 / 116, 110 / 500, -110 / 200
    matrix = [[of_lightness, of_a, 0], [of_lightness, 0, 0], [of_lightness, 0, of_b]]
    roots = graph.add("Concat", lightness, colour, axis=1)
    roots = _mixed(graph, roots, matrix, [66 / 116] * 3, "to_roots")
    return _to_srgb(graph, roots)


def _roots(graph: Graph, photo: str) -> str:
    """Adds: sRGB in [-1, 1] -> cube roots of X, Y, Z."""
    half, knee = graph.number(0.5, "half"), graph.number(0.04045, "srgb_knee")
    srgb = graph.add("Mul", graph.add("Add", photo, graph.number(1, "one")), half)
    offset = graph.add("Add", graph.add("Max", srgb, knee), graph.number(0.055, "srgb_offset"))
    bright = graph.add("Pow", graph.add("Div", offset, graph.number(1.055, "srgb_scale")), graph.number(2.4, "gamma"))
    dark = graph.add("Div", srgb, graph.number(12.92, "srgb_slope"))
    linear = graph.add("Where", graph.add("Greater", srgb, knee), bright, dark)
    xyz = _mixed(graph, linear, color.TO_XYZ, [0] * 3, "to_xyz")
    knee = graph.number(color.KNEE**3, "root_knee")
    root = graph.add("Pow", graph.add("Max", xyz, knee), graph.number(1 / 3, "third"))
    line = graph.add("Mul", xyz, graph.number(1 / (3 * color.KNEE**2), "root_slope"))
    line = graph.add("Add", line, graph.number(4 / 29, "root_offset"))
    return graph.add("Where", graph.add("Greater", xyz, knee), root, line)


def _to_srgb(graph: Graph, roots: str) -> str:
    """Adds the inverse of `_roots`, clipped to what sRGB has."""
    cube = graph.add("Mul", roots, graph.add("Mul", roots, roots))
    line = graph.add("Sub", roots, graph.number(4 / 29, "root_offset"))
    line = graph.add("Mul", line, graph.number(3 * color.KNEE**2, "root_slope"))
    xyz = graph.add("Where", graph.add("Greater", roots, graph.number(color.KNEE, "root_knee")), cube, line)
    zero, one, knee = graph.number(0, "zero"), graph.number(1, "one"), graph.number(0.0031308, "linear_knee")
    linear = _mixed(graph, graph.add("Max", xyz, zero), color.FROM_XYZ, [0] * 3, "from_xyz")
    linear = graph.add("Clip", linear, zero, one)
    bright = graph.add("Pow", graph.add("Max", linear, knee), graph.number(1 / 2.4, "gamma"))
    bright = graph.add("Mul", bright, graph.number(1.055, "srgb_scale"))
    bright = graph.add("Sub", bright, graph.number(0.055, "srgb_offset"))
    dark = graph.add("Mul", linear, graph.number(12.92, "srgb_slope"))
    srgb = graph.add("Where", graph.add("Greater", linear, knee), bright, dark)
    return graph.add("Sub", graph.add("Mul", srgb, graph.number(2, "two")), one)


def _mixed(graph: Graph, x: str, matrix, offset, name: str) -> str:
    """Adds a product of each pixel's channels with a matrix (out, in)."""
    kernel = graph.constant(np.asarray(matrix, np.float32)[..., None, None], name)
    return graph.add("Conv", x, kernel, graph.constant(np.asarray(offset, np.float32), f"{name}_offset"))
