"""Starts a run from the weights of another one, or of a file: `config.init_from`."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from pix2pix_jax.configuration import build_model, validate
from pix2pix_jax.errors import UserError
from pix2pix_jax.gan.state import NetworkState, TrainState
from pix2pix_jax.inference import trained_model
from pix2pix_jax.interop import by_order, layout, transfer
from pix2pix_jax.io import pth
from pix2pix_jax.runtime import console

_FIRST = re.compile(r"params/(down0|stem|conv0|scale\d+/conv0)/kernel")  # their inputs are the images' channels
_LAST = re.compile(r"params/(up0|head)/(kernel|bias)")  # their outputs are the targets' channels
_MOST_LISTED = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """Holds what a run starts from.

    Attributes:
      name: `init_from`, for messages.
      generator: arrays by path, such as "params/down0/kernel".
      discriminator: the same, or None where there is none.
      config: that of the run the weights are of, or None where nothing tells it.
    """

    name: str
    generator: dict[str, np.ndarray]
    discriminator: dict[str, np.ndarray] | None
    config: ConfigDict | None


def read(config: ConfigDict) -> InitialWeights:
    """Reads what `config.init_from` names, and logs how a .pth file was understood.

    Raises UserError if there is nothing such, or it cannot be the networks of the config.
    """
    name = config.init_from
    try:
        return _read_pth(config, name) if name.endswith(".pth") else _read_run(name)
    except UserError as error:
        raise UserError(f"config.init_from: {error}") from error


def _read_run(name: str) -> InitialWeights:
    model = trained_model.load(name)
    discriminator = None
    if trained_model.is_workdir(name) and model.config.gan_weight:
        _, variables = transfer.restore_discriminator(name, model.step)
        discriminator = _flat(variables)
    return InitialWeights(name=name, generator=_flat(model.variables), discriminator=discriminator, config=model.config)


def _read_pth(config: ConfigDict, name: str) -> InitialWeights:
    """Reads a generator, and the discriminator beside it where both have the names of that family."""
    beside = pathlib.Path(os.path.expanduser(re.sub(r"_net_G\.pth$", "_net_D.pth", name)))
    has_discriminator = str(beside) != os.path.expanduser(name) and beside.is_file()
    return InitialWeights(
        name=name,
        generator=_convert(config, name, "generator"),
        discriminator=_convert(config, str(beside), "discriminator") if has_discriminator else None,
        config=None,
    )


def _convert(config: ConfigDict, file: str, network: str) -> dict[str, np.ndarray]:
    architecture = transfer.architecture_of(config, network)
    if architecture.network == "unet":
        architecture = dataclasses.replace(architecture, skips=config.generator.skips)
    arrays, notes = by_order.convert(layout.clean(pth.read(file)), architecture, file)
    for note in notes:
        console.log(f"init_from: {file}: {note}")
    return arrays


def _flat(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {path: np.asarray(x) for path, x in traverse_util.flatten_dict(variables, sep="/").items()}


def start_from(
    config: ConfigDict, state: TrainState, initial: InitialWeights, *, place: Callable[[Any], Any]
) -> TrainState:
    """Returns a state of step 0 with the initial weights.

    Layers of other channels stay as they are, and a line of the log names them; so does the discriminator where there
    is none that fits.

    Args:
      config: of the run.
      state: initialised at random.
      initial: the weights.
      place: puts host arrays, the same in every process, where those of the state are.

    Raises:
      UserError: the generator is another one, or a layer without weights would be frozen.
    """
    generator, new, misfits = _graft(state.generator, initial.generator, place)
    if misfits:
        raise UserError(
            f"config.init_from: {initial.name}: another generator: {_advice(config, initial, misfits, 'generator')}"
        )
    if frozen := [layer for layer in new if build_model.is_frozen(config, layer)]:
        raise UserError(
            f"config.freeze: {config.freeze}, but {initial.name} has other channels in {frozen[0]}, which begins "
            "anew and has to learn; leave freeze empty, or use inner"
        )
    console.log(f"init_from: generator of {initial.name}{_anew(new)}")
    state = state.replace(
        generator=generator, ema=jax.tree.map(lambda x: x.copy(), generator.params) if state.ema else {}
    )
    if initial.discriminator is None:
        console.log("init_from: it has no discriminator, which begins anew")
        return state
    discriminator, new, misfits = _graft(state.discriminator, initial.discriminator, place)
    if misfits:
        advice = _advice(config, initial, misfits, "discriminator")
        console.log(f"init_from: the discriminator begins anew, as its own is another one; to have it, {advice}")
        return state
    console.log(f"init_from: discriminator too{_anew(new)}")
    return state.replace(discriminator=discriminator)


def _anew(layers: list[str]) -> str:
    return f"; other channels, so these layers begin anew: {', '.join(layers)}" if layers else ""


def _graft(
    fresh: NetworkState, arrays: Mapping[str, np.ndarray], place: Callable[[Any], Any]
) -> tuple[NetworkState, list[str], list[str]]:
    """Returns (network with the arrays, layers that stay as they are, descriptions of what does not fit)."""
    own = traverse_util.flatten_dict(fresh.variables, sep="/")
    new = sorted(path for path in own if path in arrays and _has_other_channels(path, own[path], arrays[path]))
    misfits = [f"no {path}" for path in own if path not in arrays]
    misfits += [f"{path} besides" for path in arrays if path not in own]
    misfits += [
        f"{path} {arrays[path].shape} instead of {own[path].shape}"
        for path in own
        if path in arrays and arrays[path].shape != own[path].shape and path not in new
    ]
    if misfits:
        return fresh, [], misfits
    taken = place({path: arrays[path].astype(np.float32) for path in own if path not in new})
    variables = {"params": {}, "batch_stats": {}} | traverse_util.unflatten_dict(own | taken, sep="/")
    return fresh.replace(**variables), sorted({path.rpartition("/")[0].removeprefix("params/") for path in new}), []


def _has_other_channels(path: str, own: Any, array: np.ndarray) -> bool:
    """Returns whether an array differs just in the number of the images' channels."""
    if own.ndim != array.ndim:
        return False
    differing = [axis for axis in range(own.ndim) if own.shape[axis] != array.shape[axis]]
    return differing == [own.ndim - 2 if _FIRST.fullmatch(path) else own.ndim - 1] and bool(
        _FIRST.fullmatch(path) or _LAST.fullmatch(path)
    )


def _advice(config: ConfigDict, initial: InitialWeights, misfits: list[str], network: str) -> str:
    """Says which fields to set, where the config of the weights is known, else what does not fit."""
    if initial.config is not None:
        ours, theirs = validate.flatten(config), validate.flatten(initial.config)
        fields = [n for n in ours if n.startswith(f"{network}.") and "dropout" not in n and ours[n] != theirs[n]]
        if fields:
            return f"set {' '.join(f'--config.{name}={theirs[name]}' for name in fields)}"
        if network == "generator" and config.image_size != initial.config.image_size:
            return f"its U-Net is of image_size {tuple(initial.config.image_size)}; set --config.generator.num_downs"
    return f"set the fields of config.{network} to the file's ({_listed(misfits)})"


def _listed(items: list[str]) -> str:
    more = [f"and {len(items) - _MOST_LISTED} more"] if len(items) > _MOST_LISTED else []
    return ", ".join([*items[:_MOST_LISTED], *more])
