"""Converts weights of pytorch-CycleGAN-and-pix2pix to and from the variables of our networks.

The lists of arrays that `architectures` makes decide all: which architecture a file fits best, which arrays it lacks,
and the conversion both ways.
"""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.interop.architectures import COUNTER, Architecture, Entry, entries_of, unet_level

_PREFIXES = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before each key
_MOST_LISTED = 8
_FIRST_KERNELS = {
    "unet": "model.model.0.weight",
    "resnet": "model.1.weight",
    "patchgan": "model.0.weight",
    "pixel": "net.0.weight",
}
_AXES = {"conv": (2, 3, 1, 0), "up": (2, 3, 0, 1)}  # of PyTorch's kernels, in our order
_BIASES = {  # by norm; the norm "instance" has no parameters here, and shows only in the biases of the convolutions
    "batch": ("auto", "always", "last", "never"),
    "instance": ("auto",),
    "none": ("auto", "last", "never"),
}


def clean(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Removes wrappers' prefixes, if all keys have them, and statistics that norms without weights had before 0.4."""
    for _ in _PREFIXES:
        for prefix in _PREFIXES:
            if all(key.startswith(prefix) for key in weights):
                weights = {key.removeprefix(prefix): array for key, array in weights.items()}
    statistics = (".running_mean", ".running_var", f".{COUNTER}")
    layers = {key.removesuffix(".weight") for key in weights if key.endswith(".weight")}
    return {key: weights[key] for key in weights if not key.endswith(statistics) or key.rpartition(".")[0] in layers}


def infer(weights: Mapping[str, np.ndarray], name_of_file: str, wanted: str) -> Architecture:
    """Infers the network that `clean` weights fit best; `from_torch` reports how they do not.

    Raises UserError if they are not those of the `wanted` network, "generator" or "discriminator".
    """
    name = _name(weights, name_of_file, wanted)
    features, input_channels = _channels(weights, _FIRST_KERNELS[name], name_of_file)
    fields = {"network": name, "features": features, "input_channels": input_channels}
    if name == "unet":
        fields["depth"] = next(n for n in itertools.count(2) if f"{unet_level(n)}.model.1.weight" not in weights)
        last_inputs, fields["target_channels"] = _channels(weights, "model.model.3.weight", name_of_file)
        fields["skips"] = last_inputs != features
    elif name == "resnet":
        fields["depth"] = len({key.split(".")[1] for key in weights if ".conv_block." in key})
        fields["target_channels"], _ = _channels(weights, f"model.{fields['depth'] + 17}.weight", name_of_file)
    else:
        convolutions = sum(array.ndim == 4 for array in weights.values())
        fields |= {"network": wanted, "depth": 0 if name == "pixel" else max(convolutions - 2, 1)}
    norms = [{"norm": norm, "bias": bias} for norm, biases in _BIASES.items() for bias in biases]
    dropouts = [False, True] if name == "resnet" else [None]
    candidates = [Architecture(**fields, **norm, dropout=d) for d, norm in itertools.product(dropouts, norms)]
    keys = {key for key in weights if not key.endswith(COUNTER)}
    return min(candidates, key=lambda a: len(keys ^ {entry.key for entry in entries_of(a) if entry.path}))


def _name(weights: Mapping[str, np.ndarray], name_of_file: str, wanted: str) -> str:
    """Returns the key in _FIRST_KERNELS of the network that weights are of. Raises UserError if none is `wanted`."""
    names = [name for name, key in _FIRST_KERNELS.items() if key in weights]
    if any(key.startswith("model.model.") for key in weights):
        names = ["unet"]
    if not names:
        known = "a generator nor a discriminator of pytorch-CycleGAN-and-pix2pix"
        raise UserError(f"{name_of_file}: holds neither {known}, but {_listed(weights)}; check which file it is")
    network = "generator" if names[0] in ("unet", "resnet") else "discriminator"
    if network != wanted:
        usual_name = f"latest_net_{wanted[0].upper()}.pth"
        raise UserError(f"{name_of_file}: holds a {network}, not a {wanted}; give the {wanted}'s file ({usual_name})")
    return names[0]


def _channels(weights: Mapping[str, np.ndarray], key: str, name_of_file: str) -> tuple[int, int]:
    """Returns the first two axes of a kernel: (out, in), or (in, out) for a transposed convolution."""
    if key not in weights or weights[key].ndim != 4 or not weights[key].size:
        misfit = f"not a network of pytorch-CycleGAN-and-pix2pix, as {key} is no kernel of a convolution"
        raise UserError(f"{name_of_file}: {misfit}; check which file it is")
    return weights[key].shape[:2]


def from_torch(
    weights: Mapping[str, np.ndarray], architecture: Architecture, name_of_file: str
) -> dict[str, dict[str, Any]]:
    """Converts PyTorch's arrays, as from `clean`, to the variables of our network.

    Returns {"params": ..., "batch_stats": ...}, nested dicts of float32 arrays; batch_stats is {} without BatchNorm.
    Raises UserError, whose message begins with `name_of_file`, if keys or shapes are not those of the architecture.
    """
    entries = entries_of(architecture)
    if misfit := _differences(weights, entries):
        raise UserError(f"{name_of_file}: does not fit {architecture.described()}: {misfit}; check which file it is")
    ours = {entry.path: to_ours(weights[entry.key], entry.kind) for entry in entries if entry.path is not None}
    return {"params": {}, "batch_stats": {}} | traverse_util.unflatten_dict(ours, sep="/")


def to_torch(variables: Mapping[str, Any], architecture: Architecture) -> dict[str, np.ndarray]:
    """Converts our variables to PyTorch's arrays, the inverse of `from_torch`.

    Slopes, epsilons, padding and the places of activations, which weights do not show, must be those of
    pytorch-CycleGAN-and-pix2pix.

    Returns float32 arrays by PyTorch's keys and in its order; BatchNorm's counters, which our networks lack, are int64
    zeros. Raises UserError if the variables are not those of the architecture.
    """
    ours = traverse_util.flatten_dict({name: variables.get(name, {}) for name in ("params", "batch_stats")}, sep="/")
    entries = entries_of(architecture)
    weights = {
        entry.key: np.zeros((), np.int64) if entry.path is None else to_theirs(ours[entry.path], entry.kind)
        for entry in entries
        if entry.path is None or entry.path in ours
    }
    different = ours.keys() ^ {entry.path for entry in entries if entry.path is not None}
    different |= {e.path for e in entries if e.key in weights and weights[e.key].shape != e.shape}
    if different:
        theirs = f"{architecture.described()} as pytorch-CycleGAN-and-pix2pix has it"
        misfit = f"differing in {_listed(sorted(different))}"
        raise UserError(f"the network is not {theirs}, {misfit}; it can only be kept in our own format")
    return weights


def _differences(weights: Mapping[str, np.ndarray], entries: list[Entry]) -> str:
    shapes = {entry.key: entry.shape for entry in entries}
    reshaped = [key for key in weights if weights[key].shape != shapes.get(key, weights[key].shape)]
    differences = {
        "missing": [entry.key for entry in entries if entry.key not in weights and entry.path],
        "unexpected": [key for key in weights if key not in shapes],
        "of another shape": [f"{key} {weights[key].shape} instead of {shapes[key]}" for key in reshaped],
    }
    return "; ".join(f"{what}: {_listed(items)}" for what, items in differences.items() if items)


def _listed(items: Iterable[str]) -> str:
    """Returns the first few items, printable in one line: a file's keys may be anything."""
    printed = [printable(item, 160) for item in items]
    more = [f"and {len(printed) - _MOST_LISTED} more"] if len(printed) > _MOST_LISTED else []
    return ", ".join(printed[:_MOST_LISTED] + more) or "nothing"


def to_ours(array: np.ndarray, kind: str) -> np.ndarray:
    """Converts an array; PyTorch stores a transposed convolution's kernel as that of the convolution it transposes."""
    with np.errstate(over="ignore"):  # float64 values beyond float32's range become infinite
        array = np.asarray(array, np.float32)
    array = array.transpose(_AXES[kind]) if kind in _AXES else array
    return (array[::-1, ::-1] if kind == "up" else array).copy()


def to_theirs(array: Any, kind: str) -> np.ndarray:
    """Converts an array to PyTorch's layout, which is ONNX's too: kernels by `kind`, as in `Entry`; others as they are.

    "conv": (k, k, in, out) -> (out, in, k, k); "up": (k, k, in, out), rotated, -> (in, out, k, k).
    """
    array = np.asarray(array, np.float32)
    array = array[::-1, ::-1] if kind == "up" else array
    return (array.transpose(np.argsort(_AXES[kind])) if kind in _AXES else array).copy()
