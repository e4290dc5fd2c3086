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
from pix2pix_jax.interop.architectures import (
    COUNTER,
    Architecture,
    DiscriminatorArchitecture,
    Entry,
    GeneratorArchitecture,
    entries_of,
    unet_level,
)

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
_NORMS_AND_BIASES = [{"norm": norm, "bias": bias} for norm, biases in _BIASES.items() for bias in biases]


def clean(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Removes what training wraps around a network, and what old versions of PyTorch left in its state dict.

    From arrays by PyTorch's keys, this takes the prefix of DataParallel or torch.compile, if every key has it, and the
    unused running statistics that instance norms had before PyTorch 0.4.
    """
    for _ in _PREFIXES:
        for prefix in _PREFIXES:
            if all(key.startswith(prefix) for key in weights):
                weights = {key.removeprefix(prefix): array for key, array in weights.items()}
    statistics = ("running_mean", "running_var", COUNTER)

    def is_used(key: str) -> bool:
        layer, _, name = key.rpartition(".")
        return name not in statistics or f"{layer}.weight" in weights

    return {key: array for key, array in weights.items() if is_used(key)}


def infer_generator(weights: Mapping[str, np.ndarray], name_of_file: str) -> GeneratorArchitecture:
    """Infers the generator that `clean` weights fit best; `from_torch` reports how they do not.

    Raises:
      UserError: they are a discriminator's or an unknown network's.
    """
    name = _name(weights, name_of_file, "generator")
    features, input_channels = _channels(weights, _FIRST_KERNELS[name], name_of_file)
    if name == "unet":
        num_downs = next(n for n in itertools.count(2) if f"{unet_level(n)}.model.1.weight" not in weights)
        last_inputs, target_channels = _channels(weights, "model.model.3.weight", name_of_file)
        fields, dropouts = {"num_downs": num_downs, "skips": last_inputs != features}, [None]
    else:
        num_blocks = len({key.split(".")[1] for key in weights if ".conv_block." in key})
        target_channels, _ = _channels(weights, f"model.{num_blocks + 17}.weight", name_of_file)
        fields, dropouts = {"num_blocks": num_blocks}, [False, True]
    fields |= {"name": name, "features": features}
    fields |= {"input_channels": input_channels, "target_channels": target_channels}
    choices = itertools.product(dropouts, _NORMS_AND_BIASES)
    return _best_fit(weights, [GeneratorArchitecture(**fields, dropout=dropout, **norm) for dropout, norm in choices])


def infer_discriminator(weights: Mapping[str, np.ndarray], name_of_file: str) -> DiscriminatorArchitecture:
    """Infers the PatchGAN or pixel discriminator that weights fit best, as `infer_generator`."""
    name = _name(weights, name_of_file, "discriminator")
    features, channels = _channels(weights, _FIRST_KERNELS[name], name_of_file)
    convolutions = sum(array.ndim == 4 for array in weights.values())
    num_layers = 0 if name == "pixel" else max(convolutions - 2, 1)
    fields = {"num_layers": num_layers, "features": features, "channels": channels}
    return _best_fit(weights, [DiscriminatorArchitecture(**fields, **norm) for norm in _NORMS_AND_BIASES])


def _name(weights: Mapping[str, np.ndarray], name_of_file: str, wanted: str) -> str:
    """Returns the key in _FIRST_KERNELS of the network that weights are of. Raises UserError if none is `wanted`."""
    names = [name for name, key in _FIRST_KERNELS.items() if key in weights]
    if any(key.startswith("model.model.") for key in weights):
        names = ["unet"]
    if not names:
        raise UserError(
            f"{name_of_file}: holds neither a generator nor a discriminator of pytorch-CycleGAN-and-pix2pix, but "
            f"{_listed(weights)}; check which file it is"
        )
    network = "generator" if names[0] in ("unet", "resnet") else "discriminator"
    if network != wanted:
        raise UserError(
            f"{name_of_file}: holds a {network}, not a {wanted}; give the {wanted}'s file "
            f"(latest_net_{wanted[0].upper()}.pth)"
        )
    return names[0]


def _channels(weights: Mapping[str, np.ndarray], key: str, name_of_file: str) -> tuple[int, int]:
    """Returns the first two axes of a kernel: (out, in), or (in, out) for a transposed convolution."""
    if key not in weights or weights[key].ndim != 4 or not weights[key].size:
        raise UserError(
            f"{name_of_file}: not a network of pytorch-CycleGAN-and-pix2pix, as {key} is no kernel of a "
            "convolution; check which file it is"
        )
    return weights[key].shape[:2]


def _best_fit(weights: Mapping[str, np.ndarray], architectures: list[Any]) -> Any:
    """Returns the architecture whose keys differ least, the first of several."""
    keys = {key for key in weights if not key.endswith(COUNTER)}
    return min(architectures, key=lambda a: len(keys ^ {e.key for e in entries_of(a) if e.path}))


def from_torch(
    weights: Mapping[str, np.ndarray], architecture: Architecture, name_of_file: str
) -> dict[str, dict[str, Any]]:
    """Converts PyTorch's arrays to the variables of our network.

    Args:
      weights: arrays by PyTorch's keys, as from `clean`.
      architecture: what they must fit.
      name_of_file: the file's name in error messages.

    Returns:
      {"params": ..., "batch_stats": ...}: nested dicts of float32 arrays, batch_stats {} without BatchNorm.

    Raises:
      UserError: keys are missing or unexpected, or have another shape.
    """
    entries = entries_of(architecture)
    differences = _differences(weights, entries)
    if differences:
        raise UserError(
            f"{name_of_file}: does not fit {architecture.described()}: {'; '.join(differences)}; check which file it is"
        )
    ours = {entry.path: _to_ours(weights[entry.key], entry.kind) for entry in entries if entry.path is not None}
    return {"params": {}, "batch_stats": {}} | traverse_util.unflatten_dict(ours, sep="/")


def to_torch(variables: Mapping[str, Any], architecture: Architecture) -> dict[str, np.ndarray]:
    """Converts our variables to PyTorch's arrays, the inverse of `from_torch`.

    Weights do not show slopes, epsilons, padding and where activations are: they must be those of
    pytorch-CycleGAN-and-pix2pix.

    Args:
      variables: {"params": ..., "batch_stats": ...} of our network.
      architecture: the network's architecture.

    Returns:
      float32 arrays by PyTorch's keys and in its order; BatchNorm's counters, which our networks lack, are int64 zeros.

    Raises:
      UserError: the variables are not those of the architecture.
    """
    ours = traverse_util.flatten_dict({name: variables.get(name, {}) for name in ("params", "batch_stats")}, sep="/")
    entries = entries_of(architecture)
    weights = {
        entry.key: np.zeros((), np.int64) if entry.path is None else _to_theirs(ours[entry.path], entry.kind)
        for entry in entries
        if entry.path is None or entry.path in ours
    }
    different = ours.keys() ^ {entry.path for entry in entries if entry.path is not None}
    different |= {e.path for e in entries if e.key in weights and weights[e.key].shape != e.shape}
    if different:
        raise UserError(
            f"the network is not {architecture.described()} as pytorch-CycleGAN-and-pix2pix has it, differing in "
            f"{_listed(sorted(different))}; it can only be kept in our own format"
        )
    return weights


def _differences(weights: Mapping[str, np.ndarray], entries: list[Entry]) -> list[str]:
    keys = {entry.key for entry in entries}
    missing = [entry.key for entry in entries if entry.key not in weights and entry.path]
    unexpected = [key for key in weights if key not in keys]
    reshaped = [
        f"{entry.key} {weights[entry.key].shape} instead of {entry.shape}"
        for entry in entries
        if entry.key in weights and weights[entry.key].shape != entry.shape
    ]
    differences = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    return [f"{what}: {_listed(items)}" for what, items in differences.items() if items]


def _listed(items: Iterable[str]) -> str:
    """Returns the first few items, printable in one line: a file's keys may be anything."""
    printed = [printable(item, 160) for item in items]
    more = [f"and {len(printed) - _MOST_LISTED} more"] if len(printed) > _MOST_LISTED else []
    return ", ".join(printed[:_MOST_LISTED] + more) or "nothing"


def _to_ours(array: np.ndarray, kind: str) -> np.ndarray:
    """Converts an array; PyTorch stores a transposed convolution's kernel as that of the convolution it transposes."""
    with np.errstate(over="ignore"):  # float64 values beyond float32's range become infinite
        array = np.asarray(array, np.float32)
    array = array.transpose(_AXES[kind]) if kind in _AXES else array
    return (array[::-1, ::-1] if kind == "up" else array).copy()


def _to_theirs(array: Any, kind: str) -> np.ndarray:
    array = np.asarray(array, np.float32)
    array = array[::-1, ::-1] if kind == "up" else array
    return (array.transpose(np.argsort(_AXES[kind])) if kind in _AXES else array).copy()
