"""Writes the generators as ONNX graphs, layer by layer as `models.unet` and `models.resnet` run them.

A kernel has PyTorch's layout, which is ONNX's. Running statistics are folded into the convolution before them.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import TensorProto

from pix2pix_jax.export.onnx_graph import Graph
from pix2pix_jax.interop import layout
from pix2pix_jax.models import ResNetGenerator, UNetGenerator
from pix2pix_jax.models.network import Network
from pix2pix_jax.models.norms import num_groups

_STRIDED = {"strides": [2, 2], "pads": [1] * 4}


def write(graph: Graph, image: str, network: Network, variables: Mapping[str, Any], **rules: Any) -> str:
    """Adds a generator, and returns the name of its output (N, D, H, W) in [-1, 1].

    Args:
      graph: the graph.
      image: the name of an input (N, C, H, W) in [-1, 1].
      network: the generator.
      variables: its `params` and `batch_stats`.
      **rules: norm_stats and dropout, as the fields of `Layers`.
    """
    layers = Layers(graph, network, variables["params"], variables.get("batch_stats", {}), **rules)
    write_network = {UNetGenerator: _unet, ResNetGenerator: _resnet}[type(network)]
    x = write_network(layers, image)
    graph.path = ""
    return graph.add("Tanh", x)


@dataclasses.dataclass(frozen=True)
class Layers:
    """Adds layers of a network to a graph.

    Attributes:
      graph: the graph.
      network: the network, for its norm, slope and the like.
      params: its parameters.
      stats: its running statistics.
      norm_stats: the statistics that batch norms use, as of the config's `inference`.
      dropout: whether there is dropout.
      prefix: what stands before the layers' names, of a submodule.
      one_pixel: the name of a norm whose picture may be a single pixel.
    """

    graph: Graph
    network: Any
    params: Mapping[str, Any]
    stats: Mapping[str, Any]
    norm_stats: str
    dropout: bool
    prefix: str = ""
    one_pixel: str = ""

    def inside(self, block: str) -> "Layers":
        """Returns the layers of a submodule."""
        within = {"params": self.params[block], "stats": self.stats.get(block, {}), "prefix": f"{block}/"}
        return dataclasses.replace(self, **within)

    def conv(self, x: str, name: str, *, norm: str = "", up: bool = False, **attributes: Any) -> str:
        """Adds a convolution, transposed if `up`, and the norm of that name after it, if the network has any."""
        graph, params, axis = self.graph, self.params[name], 1 if up else 0
        graph.path = self.prefix + name
        kernel = layout.to_theirs(params["kernel"], "up" if up else "conv")
        bias = params.get("bias")
        folded = norm and self.network.norm == "batch" and self.norm_stats == "running"
        if folded:
            kernel, bias = self._folded(kernel, bias, norm, axis)
        names = [graph.kernel(kernel, axis=axis)]
        names += [] if bias is None else [graph.vector(bias, "bias")]
        x = graph.add("ConvTranspose" if up else "Conv", x, *names, kernel_shape=kernel.shape[2:], **attributes)
        return x if folded or not norm else self._normalized(x, norm, kernel.shape[axis])

    def _folded(self, kernel: np.ndarray, bias: Any, norm: str, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns (kernel, bias) of the convolution with its batch norm's running statistics in them."""
        of_norm = {**self.params[norm], **self.stats[norm]}
        scale, shift, mean, var = (np.asarray(of_norm[key], np.float64) for key in ("scale", "bias", "mean", "var"))
        factor = scale / np.sqrt(var + self.network.norm_epsilon)
        bias = (0 if bias is None else np.asarray(bias, np.float64)) - mean
        shape = [-1 if i == axis else 1 for i in range(4)]
        return np.float32(kernel * factor.reshape(shape)), np.float32(bias * factor + shift)

    def _normalized(self, x: str, norm: str, channels: int) -> str:
        graph, kind = self.graph, self.network.norm
        graph.path = self.prefix + norm
        if kind == "none":
            return x
        scale, bias = np.ones(channels), np.zeros(channels)
        if kind != "instance":
            scale, bias = (np.asarray(self.params[norm][key]) for key in ("scale", "bias"))
        if kind == "group":
            return self._affine(self._grouped(x, num_groups(channels)), scale, bias)
        if kind == "batch" and self.norm_stats == "batch":
            return self._affine(self._over_batch(x), scale, bias)
        if norm == self.one_pixel:
            # Runtimes compute x * factor - mean * factor, which must be 0 where x is its own mean: no factor of ours.
            return self._affine(self._by_instance(x, np.ones(channels), np.zeros(channels)), scale, bias)
        return self._by_instance(x, scale, bias)

    def _by_instance(self, x: str, scale: np.ndarray, bias: np.ndarray) -> str:
        names = self.graph.vector(scale, "scale"), self.graph.vector(bias, "bias")
        return self.graph.add("InstanceNormalization", x, *names, epsilon=self.network.norm_epsilon)

    def _grouped(self, x: str, groups: int) -> str:
        """Normalises groups of channels, as instances of one long channel each."""
        graph = self.graph
        long = graph.add("Reshape", x, graph.constant(np.array([0, groups, -1]), "groups"))
        long = self._by_instance(long, np.ones(groups), np.zeros(groups))
        return graph.add("Reshape", long, graph.add("Shape", x))

    def _over_batch(self, x: str) -> str:
        graph, axes = self.graph, {"axes": [0, 2, 3], "keepdims": 1}
        centred = graph.add("Sub", x, graph.add("ReduceMean", x, **axes))
        variance = graph.add("ReduceMean", graph.add("Mul", centred, centred), **axes)
        least = np.finfo(graph.dtype).smallest_subnormal  # float16 would make 0 of 1e-8
        epsilon = graph.vector(np.maximum(self.network.norm_epsilon, least), "epsilon")
        return graph.add("Div", centred, graph.add("Sqrt", graph.add("Add", variance, epsilon)))

    def _affine(self, x: str, scale: np.ndarray, bias: np.ndarray) -> str:
        scale, bias = (values.reshape(-1, 1, 1) for values in (scale, bias))
        x = self.graph.add("Mul", x, self.graph.vector(scale, "channel_scale"))
        return self.graph.add("Add", x, self.graph.vector(bias, "channel_bias"))

    def drop(self, x: str) -> str:
        """Adds dropout, if it is on, drawn anew in every run.

        ONNX Runtime takes its operator Dropout out of graphs, even one that says that it is for training.
        """
        if not (self.dropout and self.network.dropout):
            return x
        graph, rate = self.graph, self.network.dropout
        noise = graph.add("RandomUniformLike", x, dtype=TensorProto.FLOAT)
        dropped = graph.add("Less", noise, graph.number(rate, "dropout_rate"))
        kept = graph.add("Div", x, graph.vector(1 - rate, "keep_rate"))
        return graph.add("Where", dropped, graph.vector(0, "zero"), kept)

    def reflected(self, x: str, pad: int) -> str:
        """Pads height and width by reflection."""
        pads = np.array([0, 0, pad, pad] * 2)
        return self.graph.add("Pad", x, self.graph.constant(pads, f"reflect_{pad}"), mode="reflect")


def _unet(layers: Layers, x: str) -> str:
    graph, network, skips = layers.graph, layers.network, []
    layers = dataclasses.replace(layers, one_pixel=f"down{network.num_downs - 1}_norm")
    after = network.decoder_activation == "after_concat"
    for i in range(network.num_downs):
        normed = 0 < i < network.num_downs - 1 or (i == network.num_downs - 1 and network.bottleneck_norm)
        x = layers.conv(x, f"down{i}", norm=f"down{i}_norm" if normed else "", **_STRIDED)
        activated = graph.add("LeakyRelu", x, alpha=network.slope)
        skips.append(x if after else activated)
        x = activated
    x = skips.pop()
    x = graph.add("Relu", x) if after else x
    for i in reversed(range(1, network.num_downs)):
        x = layers.conv(x, f"up{i}", norm=f"up{i}_norm", up=True, **_STRIDED)
        x = layers.drop(x) if network.num_downs - i in network.layers_with_dropout() else x
        x, skip = graph.add("Relu", x), skips.pop()
        if network.skips:
            x = graph.add("Concat", graph.add("Relu", skip) if after else skip, x, axis=1)
    return layers.conv(x, "up0", up=True, **_STRIDED)


def _resnet(layers: Layers, x: str) -> str:
    graph = layers.graph
    x = graph.add("Relu", layers.conv(layers.reflected(x, 3), "stem", norm="stem_norm"))
    for i in range(2):
        x = graph.add("Relu", layers.conv(x, f"down{i}", norm=f"down{i}_norm", **_STRIDED))
    for i in range(layers.network.num_blocks):
        x = _block(layers, x, f"block{i}")
    for i in reversed(range(2)):
        x = layers.conv(x, f"up{i}", norm=f"up{i}_norm", up=True, output_padding=[1, 1], **_STRIDED)
        x = graph.add("Relu", x)
    return layers.conv(layers.reflected(x, 3), "head")


def _block(layers: Layers, x: str, name: str) -> str:
    inner, graph = layers.inside(name), layers.graph
    y = inner.conv(inner.reflected(x, 1), "conv0", norm="norm0")
    y = inner.drop(graph.add("Relu", y))
    y = inner.conv(inner.reflected(y, 1), "conv1", norm="norm1")
    graph.path = name
    return graph.add("Add", x, y)
