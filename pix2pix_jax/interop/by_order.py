"""Converts weights whose names or norms are not quite those of pytorch-CycleGAN-and-pix2pix, by order and shape.

Programs of that family keep its order of layers, and PyTorch's names of a layer's arrays: weight, bias, running_mean,
running_var. The names of the layers differ, and so may the norms: an instance norm with scale and shift is a batch norm
at batch size 1, and a bias ahead of a norm does nothing.
"""

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.interop.architectures import COUNTER, Architecture, Entry, entries_of
from pix2pix_jax.interop.layout import to_ours

_NEUTRAL = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}


@dataclasses.dataclass
class _Layer:
    """Holds a convolution and the norm after it, each as {PyTorch's name of an array within the layer: array}."""

    name: str
    conv: dict[str, Any]
    norm_name: str = ""
    norm: dict[str, Any] = dataclasses.field(default_factory=dict)


def convert(
    weights: Mapping[str, np.ndarray], architecture: Architecture, name_of_file: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Converts PyTorch's arrays, as from `layout.clean`, to those of our network.

    Returns (arrays by path, such as "params/down0/kernel"; notes on what was matched how). Shapes are the file's.
    Raises UserError, whose message begins with `name_of_file`, if layers or norms cannot be those of the architecture.
    """
    entries = entries_of(architecture)
    keys = [entry.key for entry in entries if entry.path]
    if set(keys) == {key for key in weights if not key.endswith(COUNTER)}:
        weights = {key: weights[key] for key in keys}  # its own names count for more than its order
    ours = _layers({entry.key: entry for entry in entries if entry.path}, name_of_file)
    theirs = _layers({key: array for key, array in weights.items() if not key.endswith(COUNTER)}, name_of_file)
    if len(ours) != len(theirs):
        fields = {"unet": "name and num_downs", "resnet": "name and num_blocks"}.get(architecture.network, "num_layers")
        counts = f"has {len(theirs)} convolutions, where the config's {architecture.network} has {len(ours)}"
        raise UserError(f"{name_of_file}: {counts}; set its fields {fields} to the file's")
    arrays: dict[str, np.ndarray] = {}
    notes: collections.Counter[str] = collections.Counter()
    for our, their in zip(ours, theirs, strict=True):
        if problem := _take(our, their, arrays, notes):
            raise UserError(f"{name_of_file}: {printable(their.name, 80)} {problem}")
        if renamed := _renamed(our, their):
            notes[renamed] += 1
    return arrays, [f"{note} ({count} layers)" if count > 1 else note for note, count in notes.items()]


def _layers(items: Mapping[str, Any], name_of_file: str) -> list[_Layer]:
    """Groups arrays, or entries, into layers: each begins with a kernel, the only arrays of four axes."""
    layers: list[_Layer] = []
    for key, item in items.items():
        name, _, leaf = key.rpartition(".")
        if len(item.shape) == 4 and leaf == "weight":
            layers.append(_Layer(name, {leaf: item}))
        elif layers and name == layers[-1].name and leaf == "bias":
            layers[-1].conv[leaf] = item
        elif layers and leaf in _NEUTRAL and len(item.shape) == 1 and layers[-1].norm_name in ("", name):
            layers[-1].norm_name = name
            layers[-1].norm[leaf] = item
        else:
            known = "convolutions, each with one norm at most"
            raise UserError(f"{name_of_file}: {printable(key, 80)} is no part of {known}; check which file it is")
    return layers


def _take(our: _Layer, their: _Layer, arrays: dict, notes: collections.Counter) -> str:
    """Adds a layer's arrays and notes on them. Returns what does not fit, and what to do; "" if all does."""
    kernel: Entry = our.conv["weight"]
    arrays[kernel.path] = to_ours(their.conv["weight"], kernel.kind)
    width = arrays[kernel.path].shape[-1]
    _fill(arrays, our.conv, their.conv, width=width)
    if "bias" in their.conv and "bias" not in our.conv:
        if not our.norm:
            return "has a bias, which the config's network lacks; set its field bias=always"
        notes["biases ahead of norms are left out, as they do nothing"] += 1
    if their.norm and not our.norm:
        what = f"is followed by a norm with parameters, {printable(their.norm_name, 80)}"
        return f"{what}, which the config's network lacks; set its field norm=batch, the same at batch_size=1"
    if our.norm:
        _fill(arrays, our.norm, their.norm, width=width)
        if not their.norm:
            notes["norms without parameters get scale 1 and shift 0"] += 1
        elif "running_var" not in their.norm:
            notes["affine instance norms become batch norms, which are the same at batch_size=1"] += 1
    return ""


def _fill(arrays: dict, our: Mapping[str, Entry], their: Mapping[str, np.ndarray], *, width: int) -> None:
    """Adds the vectors of a layer; those that the file lacks change nothing."""
    for leaf, entry in our.items():
        if entry.kind == "vector":
            array = their.get(leaf)
            neutral = np.full(width, _NEUTRAL[leaf], np.float32)
            arrays[entry.path] = neutral if array is None else to_ours(array, "vector")


def _renamed(our: _Layer, their: _Layer) -> str:
    """Describes in which parts two names of a convolution differ; "" if they do not."""
    ours, theirs = our.name.split("."), their.name.split(".")
    while ours and theirs and ours[0] == theirs[0]:
        ours, theirs = ours[1:], theirs[1:]
    while ours and theirs and ours[-1] == theirs[-1]:
        ours, theirs = ours[:-1], theirs[:-1]
    if not ours and not theirs:
        return ""
    return f"{printable('.'.join(theirs) or their.name, 80)} is taken for {'.'.join(ours) or our.name}"
