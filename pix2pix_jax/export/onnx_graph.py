"""Collects the nodes and constants of an ONNX graph, and names them.

The operator set is old enough for every runtime in use: 17 is of 2022.
"""

import numpy as np
from onnx import GraphProto, ModelProto, ValueInfoProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8
PRECISIONS = ("float32", "float16", "int8")


class Graph:
    """Grows by `add` and by constants; `path` names the layer that is being written, as "down0"."""

    def __init__(self, precision: str = "float32"):
        """Begins an empty graph whose layers compute in `precision`; "int8" only stores kernels so."""
        self.path = ""
        self.dtype = np.dtype(np.float16 if precision == "float16" else np.float32)
        self._precision = precision
        self._nodes, self._constants = [], {}

    def add(self, operator: str, *inputs: str, **attributes) -> str:
        """Adds an operator, and returns the name of its one output."""
        name = self._free(f"{self.path}/{operator}" if self.path else operator)
        self._nodes.append(helper.make_node(operator, [*inputs], [name], name=name, **attributes))
        return name

    def constant(self, value: np.ndarray, name: str) -> str:
        """Adds an array as it is, and returns its name; an equal one of that name is there once."""
        value = np.asarray(value, order="C")
        name = f"{self.path}/{name}" if self.path else name
        if name in self._constants:
            assert np.array_equal(numpy_helper.to_array(self._constants[name]), value), name
        else:
            self._constants[name] = numpy_helper.from_array(value, name)
        return name

    def number(self, value: float, name: str) -> str:
        """Adds a float32 number."""
        return self.constant(np.float32(value), name)

    def vector(self, values: np.ndarray, name: str) -> str:
        """Adds parameters of a layer, in the dtype of the computation."""
        return self.constant(np.asarray(values, self.dtype), name)

    def kernel(self, values: np.ndarray, *, axis: int) -> str:
        """Adds a kernel in the graph's precision; `axis` is that of its output channels, each with an int8 scale."""
        if self._precision != "int8":
            return self.vector(values, "kernel")
        others = tuple(i for i in range(values.ndim) if i != axis)
        scale = np.maximum(np.abs(values).max(others, keepdims=True) / 127, np.finfo(np.float32).tiny)
        names = (
            self.constant(np.round(values / scale).astype(np.int8), "kernel"),
            self.constant(scale.astype(np.float32).ravel(), "kernel_scale"),
        )
        return self.add("DequantizeLinear", *names, axis=axis)

    def model(self, image: ValueInfoProto, output: ValueInfoProto, **fields) -> ModelProto:
        """Makes the model, whose output is the value that was added last; `fields` are its doc_string and the like."""
        self._nodes[-1].output[0] = output.name
        constants = self._constants.values()
        made = GraphProto(name="generator", node=self._nodes, initializer=constants, input=[image], output=[output])
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION, **fields)

    def _free(self, name: str) -> str:
        taken = sum(node.op_type == name.rpartition("/")[2] and node.name.startswith(name) for node in self._nodes)
        return f"{name}_{taken}" if taken else name
