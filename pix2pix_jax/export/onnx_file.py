"""Writes a trained model as an ONNX file, from its architecture and parameters."""

import dataclasses
import json

import numpy as np
import onnx
from onnx import TensorProto, helper

from pix2pix_jax.config import build_data, build_model
from pix2pix_jax.errors import UserError
from pix2pix_jax.export import notes, onnx_networks, onnx_values
from pix2pix_jax.export.onnx_graph import PRECISIONS, Graph
from pix2pix_jax.gan.state import count_parameters
from pix2pix_jax.inference.trained_model import TrainedModel

VALUES = ("float", "uint8", "stored")
_BYTES = {"float32": 4, "float16": 2, "int8": 1}  # of a parameter
_MOST_BYTES = (1 << 31) - (1 << 20)  # of parameters, in a message of protocol buffers, which is smaller than 2 GiB


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnnxOptions:
    """Says what an ONNX file takes, makes and computes in.

    Attributes:
      values: "float": float32 (N, C, H, W) in [-1, 1], in and out; "stored": (N, H, W, C) of the dtype and range of the
        model's files; "uint8": the same of a model whose dtypes are uint8.
      precision: "float32"; "float16", inside, between inputs and outputs that stay as they are; "int8", of the kernels
        as stored, with a scale for each output channel.
      dropout: whether dropout is on, drawn anew in every run.
    """

    values: str = "float"
    precision: str = "float32"
    dropout: bool = False

    def __post_init__(self) -> None:
        if self.values not in VALUES:
            raise UserError(f"--values={self.values}: must be one of {', '.join(VALUES)}")
        if self.precision not in PRECISIONS:
            raise UserError(f"--precision={self.precision}: must be one of {', '.join(PRECISIONS)}")


def serialise(model: TrainedModel, options: OnnxOptions = OnnxOptions()) -> bytes:
    """Returns the bytes of an ONNX file of the model: input "image", output "translation", N, H and W free.

    H and W must be multiples of the metadata's `size_multiple`. Norms take the statistics of the config's `inference`.

    Raises:
      UserError: the model's values are not uint8 as asked, or the file would be larger than ONNX allows.
    """
    _check(model, options)
    graph = Graph(options.precision)
    x = "image"
    if options.values != "float":
        x = onnx_values.from_stored(graph, x, model.input_values)
    x = _translated(graph, x, model, dropout=options.dropout)
    if options.values != "float":
        onnx_values.to_stored(graph, x, model.target_values)
    made = graph.model(
        _value("image", model.config.input_channels, model.input_values, options),
        _value("translation", model.config.target_channels, model.target_values, options),
        producer_name="pix2pix_jax",
        producer_version=notes.VERSION,
        doc_string=notes.LICENCE,
    )
    helper.set_model_props(made, _metadata(model, options))
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def _check(model: TrainedModel, options: OnnxOptions) -> None:
    for stream, values in (("input", model.input_values), ("target", model.target_values)):
        if options.values == "uint8" and values.dtype != "uint8":
            raise UserError(f"--values=uint8: config.{stream}_dtype is {values.dtype}; use --values=stored or float")
    count = count_parameters(model.variables["params"])
    if count * _BYTES[options.precision] > _MOST_BYTES:
        raise UserError(
            f"--output: {count:,} parameters in {options.precision} are more than the 2 GiB of an ONNX "
            "file; use --precision=float16 or int8, or a .safetensors file"
        )


def _translated(graph: Graph, image: str, model: TrainedModel, *, dropout: bool) -> str:
    """Adds what `trained_model.make_translate` makes of a float image."""
    rules = {"norm_stats": model.config.inference.norm_stats, "dropout": dropout}
    generator = build_model.build_generator(model.config)

    def generate(x: str) -> str:
        graph.path = "image"
        x = x if graph.dtype == np.float32 else graph.add("Cast", x, to=TensorProto.FLOAT16)
        x = onnx_networks.write(graph, x, generator, model.variables, **rules)
        return x if graph.dtype == np.float32 else graph.add("Cast", x, to=TensorProto.FLOAT)

    if build_data.color_space(model.config).colorizes:
        return onnx_values.colorized(graph, image, generate)
    return generate(image)


def _value(name: str, channels: int, values, options: OnnxOptions) -> onnx.ValueInfoProto:
    if options.values == "float":
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", channels, "H", "W"])
    return helper.make_tensor_value_info(name, onnx_values.tensor_type(values), ["N", "H", "W", channels])


def _metadata(model: TrainedModel, options: OnnxOptions) -> dict[str, str]:
    """Returns the file's properties, as docs/export.md lists them."""
    ranges = {"input_range": model.input_values.limits, "output_range": model.target_values.limits}
    if options.values == "float":
        ranges = dict.fromkeys(ranges, (-1.0, 1.0))
    about = {
        **notes.of_model(model),
        **ranges,
        "values": options.values,
        "precision": options.precision,
        "norm_stats": model.config.inference.norm_stats,
        "dropout": "on" if options.dropout else "off",
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}
