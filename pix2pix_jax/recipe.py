"""From a config to the parts of a run: networks, optimisers, steps, data."""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2pix_jax.data import color, pipeline, reading
from pix2pix_jax.data.augment import Augmentation
from pix2pix_jax.data.pairs import WINDOWED, Pairs
from pix2pix_jax.data.sources import open_source
from pix2pix_jax.data.values import Values
from pix2pix_jax.errors import NoSplit, UserError
from pix2pix_jax.models import MultiScaleDiscriminator, PatchDiscriminator, ResNetGenerator, UNetGenerator
from pix2pix_jax.objective import Objective
from pix2pix_jax.optimizers import make_adam, make_schedule
from pix2pix_jax.state import TrainState, create_train_state
from pix2pix_jax.steps import Batch, Parts, make_train_step
from pix2pix_jax.validation import num_downs, size_multiple

STREAMS = ("input", "target")


def network_channels(config: ConfigDict) -> tuple[int, int]:
    """(input, output) channels of the generator: colourisation makes L into a, b."""
    return (1, 2) if config.color_space == "lab" else (config.input_channels, config.target_channels)


def build_generator(config: ConfigDict) -> nn.Module:
    options = {
        **_shared_options(config, config.generator),
        "out_channels": network_channels(config)[1],
        "dropout": config.generator.dropout,
    }
    if config.generator.name == "resnet":
        return ResNetGenerator(num_blocks=config.generator.num_blocks, **options)
    return UNetGenerator(
        num_downs=num_downs(config),
        skips=config.generator.skips,
        dropout_layers=config.generator.dropout_layers,
        bottleneck_norm=config.generator.bottleneck_norm,
        decoder_activation=config.generator.decoder_activation,
        **options,
    )


def build_discriminator(config: ConfigDict) -> nn.Module:
    options = {
        **_shared_options(config, config.discriminator),
        "num_layers": config.discriminator.num_layers,
        "padding": config.discriminator.padding,
        "conditional": config.discriminator.conditional,
        "spectral_norm": config.discriminator.spectral_norm,
    }
    if config.discriminator.num_scales == 1:
        return PatchDiscriminator(**options)
    return MultiScaleDiscriminator(num_scales=config.discriminator.num_scales, **options)


def _shared_options(config: ConfigDict, network: ConfigDict) -> dict[str, Any]:
    return {
        "features": network.features,
        "norm": network.norm,
        "norm_epsilon": config.norm_epsilon,
        "norm_momentum": config.norm_momentum,
        "norm_scale_std": config.norm_scale_std,
        "bias": network.bias,
        "slope": network.slope,
        "dtype": jnp.dtype(config.compute_dtype),
    }


def build_parts(config: ConfigDict, *, num_examples: int) -> Parts:
    """The networks and an Adam for each."""
    schedule = build_schedule(config, num_examples=num_examples)
    adam = {"b1": config.b1, "b2": config.b2, "eps": config.eps}
    return Parts(
        generator=build_generator(config),
        discriminator=build_discriminator(config),
        g_optimizer=make_adam(schedule, **adam),
        d_optimizer=make_adam(schedule, **adam),
    )


def build_schedule(config: ConfigDict, *, num_examples: int):
    """The learning rate changes once an epoch as published, or every step where the length is given in steps."""
    if config.num_steps is not None:
        drop_every = max(1, config.schedule_drop_epochs * num_examples // config.batch_size)
        length = {"num_periods": config.num_steps, "drop_every": drop_every}
    else:
        length = {
            "num_periods": config.num_epochs,
            "num_examples": num_examples,
            "batch_size": config.batch_size,
            "drop_every": config.schedule_drop_epochs,
        }
    return make_schedule(config.schedule, learning_rate=config.learning_rate, **length)


def total_steps(config: ConfigDict, *, num_examples: int) -> int:
    """`num_steps`, or as many steps as show each example `num_epochs` times."""
    return config.num_steps or max(1, config.num_epochs * num_examples // config.batch_size)


def build_objective(config: ConfigDict) -> Objective:
    return Objective(**{field.name: config[field.name] for field in dataclasses.fields(Objective)})


def build_train_step(config: ConfigDict, parts: Parts, *, constrain: Callable[[Any], Any] = lambda batch: batch):
    """The train step of the config; see `steps.make_train_step`.

    Args:
      config: of the run.
      parts: networks and optimisers.
      constrain: places the augmented batch on the mesh.
    """

    def prepare(batch: Batch) -> Batch:
        batch = constrain(batch)
        if config.color_space == "rgb":
            return batch
        lightness, colour = color.split(batch["target"])
        return {"input": lightness, "target": colour}

    return make_train_step(
        parts,
        seed=config.seed,
        image_size=tuple(config.image_size),
        mirror=config.mirror,
        augmentation=Augmentation(**config.augment),
        nearest=[name for name in STREAMS if config[f"{name}_interpolation"] == "nearest"],
        objective=build_objective(config),
        update_order=config.update_order,
        ema_decay=config.ema_decay,
        values=stream_values(config),
        prepare=prepare,
    )


def stream_values(config: ConfigDict) -> dict[str, Values]:
    """What the stored values of "input" and "target" mean. Raises UserError for float32 without a range."""
    return {
        name: Values.of(config[f"{name}_dtype"], config[f"{name}_range"], f"config.{name}_range") for name in STREAMS
    }


def resolve_dtypes(config: ConfigDict, pairs: Pairs) -> ConfigDict:
    """The config with the dtypes of its streams where they are "auto": what holds the values of all files of `pairs`,
    the training split.

    Raises:
      UserError: a file is no image, or values are float32 and no range is set; the message has the one that was found.
    """
    config = copy.deepcopy(config)
    if "auto" in (config.input_dtype, config.target_dtype):
        for name, dtype in zip(STREAMS, pairs.sides(pairs.source.dtypes()), strict=True):
            if config[f"{name}_dtype"] == "auto":
                config[f"{name}_dtype"] = dtype
    for i, name in enumerate(STREAMS):
        if config[f"{name}_dtype"] == "float32" and config[f"{name}_range"] is None:
            first = [pairs.sides(pairs.source.pair(j, (None, None)))[i] for j in range(min(8, len(pairs)))]
            low, high = min(float(x.min()) for x in first), max(float(x.max()) for x in first)
            raise range_unset(name, low, high, f"the first {len(first)} files")
    return config


def range_unset(name: str, low: float, high: float, where: str) -> UserError:
    """The error of stream `name`, float32 values from `low` to `high` in `where`, whose range is not set."""
    return UserError(
        f"config.{name}_range: unset, but the {name}s are float32, in {where} from {low:g} to {high:g}; say which "
        f"values become -1 and 1: --config.{name}_range={low:g},{high if high > low else low + 1:g}"
    )


def with_dtypes(pairs: Pairs, config: ConfigDict) -> Pairs:
    """The pairs in the dtypes of a config."""
    return dataclasses.replace(pairs, **{f"{name}_dtype": v.dtype for name, v in stream_values(config).items()})


def _open_at_load_size(config: ConfigDict) -> Pairs:
    """The training split, whose images have the size that `config.preprocess` gives them."""
    mode = config.preprocess
    pairs = open_pairs(
        config, "train", size=tuple(config.resize_size if mode in ("resize_and_crop", *WINDOWED) else config.image_size)
    )
    return dataclasses.replace(
        pairs,
        preprocess=mode,
        size=tuple(config.resize_size if mode == "resize_and_crop" else config.image_size),
        width=config.resize_size[1],
        multiple=size_multiple(config),
    )


def build_batches(config: ConfigDict, pairs: Pairs, mesh: Mesh, *, start: int, residency: str) -> Iterator[Batch]:
    """The global batches of steps start, start + 1, ..."""
    return pipeline.batches(
        pairs,
        mesh,
        batch_size=config.batch_size,
        seed=config.seed,
        start=start,
        residency=residency,
        num_workers=reading.choose_workers(pairs, config.num_workers),
        resize_on_device=pipeline.can_resize_on_device(mesh),
    )


def open_pairs(config: ConfigDict, split: str, *, size: tuple[int, int] | None = None) -> Pairs:
    """Opens a split, its images resized to `size`; by default the model's own size."""
    size = size or config.image_size
    colorize = config.color_space == "lab"
    source = open_source(
        config.dataset,
        split,
        data_dir=config.data_dir,
        data_url=config.data_url,
        size=size,
        seed=config.seed,
        single=colorize,
        a_folders=config.a_folders,
        b_folders=config.b_folders,
    )
    return Pairs(
        source=source,
        direction=config.direction,
        size=size,
        input_channels=config.input_channels,
        target_channels=config.target_channels,
        colorize=colorize,
        **{field: config[field] for field in ("input_interpolation", "target_interpolation")},
        **{f"{name}_dtype": config[f"{name}_dtype"].replace("auto", "uint8") for name in STREAMS},
    )


def open_training(config: ConfigDict) -> tuple[ConfigDict, Pairs]:
    """(the config with its dtypes resolved, the training split at load size).

    Raises:
      UserError: no such data, they do not fit the config, or float32 values lack a range.
    """
    pairs = _open_at_load_size(config)
    config = resolve_dtypes(config, pairs)
    pairs = with_dtypes(pairs, config)
    pairs[0]  # a config of other channels than the files' is refused here, before anything is written
    return config, pairs


def open_pairs_if_any(config: ConfigDict, split: str, *, size: tuple[int, int] | None = None) -> Pairs | None:
    """As `open_pairs`; None if the data have no such split."""
    try:
        return open_pairs(config, split, size=size)
    except NoSplit:
        return None
    except UserError:
        if config.dataset == "folder":
            raise
        return None


def create_state(config: ConfigDict, parts: Parts) -> TrainState:
    """The state of step 0; traceable."""
    input_channels, target_channels = network_channels(config)
    return create_train_state(
        parts.generator,
        parts.discriminator,
        parts.g_optimizer,
        parts.d_optimizer,
        seed=config.seed,
        image_size=tuple(config.image_size),
        input_channels=input_channels,
        target_channels=target_channels,
        ema=config.ema_decay > 0,
    )


def inference_variables(config: ConfigDict, state: Any) -> dict[str, Any]:
    """The generator's `params` and `batch_stats` that inference uses, of a state or of one of the same form."""
    params = state.ema if config.inference.weights == "ema" else state.generator.params
    return {"params": params, "batch_stats": state.generator.batch_stats}
