"""Imports .pth files of pytorch-CycleGAN-and-pix2pix as a workdir, and exports networks as such files."""

import contextlib
import copy
import os
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath
from ml_collections import ConfigDict

from pix2pix_jax.configuration import build_data, build_model, validate
from pix2pix_jax.data.paired_dataset import WINDOWED
from pix2pix_jax.errors import UserError
from pix2pix_jax.inference import trained_model
from pix2pix_jax.interop import layout
from pix2pix_jax.interop.architectures import Architecture
from pix2pix_jax.io import pth, storage
from pix2pix_jax.runtime import console
from pix2pix_jax.workdir import checkpoints
from pix2pix_jax.workdir import folder as workdir_lib

# Fields that weights do not show, with the only value that pytorch-CycleGAN-and-pix2pix has.
_FIXED = {
    "generator": {"generator.slope": 0.2, "generator.decoder_activation": "after_concat", "norm_epsilon": 1e-5},
    "discriminator": {"discriminator.slope": 0.2, "discriminator.padding": "zero", "norm_epsilon": 1e-5},
}
_DROPOUT = 0.5


def import_torch(
    config: ConfigDict,
    folder: epath.PathLike,
    *,
    generator: str,
    discriminator: str | None = None,
    keep: Collection[str] = (),
) -> ConfigDict:
    """Makes a workdir of PyTorch weights, as step 0, which evaluate, translate and train take; returns its config.

    Args:
      config: an unchecked ConfigDict, as from `config.read`. The weights replace its fields of the networks as far as
        they show them, and a U-Net sets its image size to the one that it halves down to 1 pixel. All other fields
        stay: data, losses, slopes, a U-Net's dropout.
      folder: path of the workdir, which must not have checkpoints.
      generator: path of a .pth file.
      discriminator: path of a .pth file; None initialises it at random.
      keep: names of fields whose value stays, of "image_size" and "resize_size".

    Raises:
      UserError: a file cannot be read or does not fit, the config has a bad value, the networks cannot take its images,
        or the workdir holds a run or cannot be written.
    """
    folder = storage.folder(folder)
    config, g_variables, d_variables = _read(config, generator, discriminator, keep)
    workdir_lib.make(folder)
    with contextlib.closing(checkpoints.Checkpoints(folder, keep=config.keep_checkpoints)) as writer:
        if writer.latest_step() is not None:
            raise UserError(f"{folder}: holds a run; use another --workdir")
        parts = build_model.build_parts(config, num_examples=1)
        state = jax.jit(lambda: build_model.create_state(config, parts))()
        state = state.replace(generator=state.generator.replace(**g_variables))
        if config.ema_decay:
            state = state.replace(ema=state.generator.params)
        if d_variables is not None:
            state = state.replace(discriminator=state.discriminator.replace(**d_variables))
        workdir_lib.write_config(config, folder)
        writer.save(0, state, config)
        writer.wait()
    return config


def _read(
    config: ConfigDict, generator: str, discriminator: str | None, keep: Collection[str]
) -> tuple[ConfigDict, dict[str, Any], dict[str, Any] | None]:
    """Returns (config that fits the files, variables of the generator, of the discriminator or None)."""
    config = copy.deepcopy(config)
    g, g_variables = _read_network(generator, "generator")
    _take_size(config, g, keep)
    _take_generator(config, g)
    d_variables = None
    if discriminator is not None:
        d, d_variables = _read_network(discriminator, "discriminator")
        _take_discriminator(config, d, g, discriminator)
    return validate.check(config), g_variables, d_variables


def _read_network(file: str, wanted: str) -> tuple[Architecture, dict[str, Any]]:
    weights = layout.clean(pth.read(file))
    architecture = layout.infer(weights, file, wanted)
    return architecture, jax.tree.map(jnp.asarray, layout.from_torch(weights, architecture, file))


def _take_size(config: ConfigDict, g: Architecture, keep: Collection[str]) -> None:
    """Sets image_size and resize_size to those that a U-Net was made for, and prints a note.

    pytorch-CycleGAN-and-pix2pix names U-Nets by the size: unet_128 halves 7 times. Otherwise an image of that size
    would be enlarged to the config's, and its translation reduced again.
    """
    resized = config.preprocess in ("resize_and_crop", *WINDOWED)  # other ways keep images' own sizes
    if g.network != "unet" or "image_size" in keep or not resized:
        return
    own, side = config.image_size, 2**g.depth
    if min(own) == side and max(own) % side == 0:
        return
    size = (side, side)
    if "resize_size" not in keep:
        config.resize_size = tuple(round(n * s / o) for n, s, o in zip(config.resize_size, size, own, strict=True))
    config.image_size = size
    console.log(
        f"note: the U-Net is made for {side}x{side} pixels, to which pictures are resized; for another size give "
        "--config.image_size=HEIGHT,WIDTH and --config.resize_size"
    )


def _take_generator(config: ConfigDict, g: Architecture) -> None:
    fields = config.generator
    fields.update(name=g.network, features=g.features, norm=g.norm, bias=g.bias)
    if g.network == "resnet":
        fields.update(num_blocks=g.depth, dropout=(fields.dropout or _DROPOUT) if g.dropout else 0.0)
    else:
        fields.update(skips=g.skips, bottleneck_norm=False)
        # 0 means as many as the image size allows; it stays if that is the U-Net's number, so that the config stays.
        if fields.num_downs or build_data.num_downs(config) != g.depth:
            fields.num_downs = g.depth
    if build_model.network_channels(config) != (g.input_channels, g.target_channels):
        config.input_channels, config.target_channels = g.input_channels, g.target_channels


def _take_discriminator(config: ConfigDict, d: Architecture, g: Architecture, name_of_file: str) -> None:
    sees_both = g.input_channels + g.target_channels
    if d.input_channels not in (sees_both, g.target_channels):
        misfit = (
            f"sees {d.input_channels} channels, where the generator makes {g.target_channels} of {g.input_channels}"
        )
        raise UserError(f"{name_of_file}: {misfit}; give the discriminator that was trained with it")
    config.discriminator.update(num_layers=d.depth, features=d.features, norm=d.norm, bias=d.bias)
    config.discriminator.update(conditional=d.input_channels == sees_both)
    config.discriminator.update(spectral_norm=False, vision_aided=False, num_scales=1)


def changed_fields(before: ConfigDict, after: ConfigDict) -> list[str]:
    """Lists the fields that differ, each as `--config.FIELD=VALUE`."""
    old, new = validate.flatten(before), validate.flatten(after)
    return [f"--config.{name}={value}" for name, value in new.items() if value != old[name]]


def export_torch(
    folder: epath.PathLike,
    output: str | os.PathLike,
    *,
    network: str = "generator",
    step: str | int = "latest",
    **rules: str,
) -> None:
    """Writes a network of a run as a .pth file that pytorch-CycleGAN-and-pix2pix loads.

    Args:
      folder: path of the workdir; of a generator also of a .safetensors file.
      output: path of the file to write.
      network: "generator" or "discriminator".
      step: the checkpoint's step, "latest" or "best".
      **rules: `weights` of the generator, which replaces that of the config's `inference`.

    Raises:
      UserError: there is no such checkpoint, its network has no such form in PyTorch, or `output` cannot be written.
    """
    if network == "discriminator":
        if rules:
            raise UserError("--weights: has no effect on a discriminator, of which no average is kept; leave it out")
        config, variables = restore_discriminator(folder, step)
    else:
        model = trained_model.load(folder, step=step, **rules)
        config, variables = model.config, model.variables
    _check_fixed(config, network)
    pth.write(output, layout.to_torch(variables, architecture_of(config, network)))


def restore_discriminator(folder: epath.PathLike, step: str | int) -> tuple[ConfigDict, dict[str, Any]]:
    """Returns (config, variables of the discriminator) of a checkpoint of a run. Raises UserError."""

    def read(step: int) -> tuple[ConfigDict, dict[str, Any]]:
        config = reader.config(step)
        return config, trained_model.restore_variables(reader, step, config, "discriminator")

    with contextlib.closing(checkpoints.Checkpoints(folder, read_only=True)) as reader:
        return reader.load(step, read)


def _check_fixed(config: ConfigDict, network: str) -> None:
    flat = validate.flatten(config)
    for field, value in _FIXED[network].items():
        if flat[field] != value:
            why = f"pytorch-CycleGAN-and-pix2pix has {value} only, and would answer otherwise with these weights"
            raise UserError(f"config.{field}: {flat[field]}; {why}, so there is no file for it")


def architecture_of(config: ConfigDict, network: str) -> Architecture:
    """Returns what a network of a config is called in pytorch-CycleGAN-and-pix2pix; `network` as in `export_torch`."""
    input_channels, target_channels = build_model.network_channels(config)
    fields = config[network]
    shared = {name: fields[name] for name in ("features", "norm", "bias")}
    if network == "discriminator":
        channels = target_channels + (input_channels if fields.conditional else 0)
        return Architecture(network=network, depth=fields.num_layers, input_channels=channels, **shared)
    shared |= {"network": fields.name, "input_channels": input_channels, "target_channels": target_channels}
    if fields.name == "resnet":
        return Architecture(depth=fields.num_blocks, dropout=fields.dropout > 0, **shared)
    return Architecture(depth=build_data.num_downs(config), **shared)
