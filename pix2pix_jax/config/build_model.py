"""From a config to the parts of a run: networks, optimisers, losses, steps, state."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from ml_collections import ConfigDict

from pix2pix_jax.config.build_data import STREAMS, color_space, stream_values
from pix2pix_jax.config.validate import num_downs
from pix2pix_jax.data.augment import Augmentation
from pix2pix_jax.gan.objective import Objective
from pix2pix_jax.gan.optimizers import make_adam, make_schedule
from pix2pix_jax.gan.state import TrainState, create_train_state
from pix2pix_jax.gan.steps import Batch, Parts, make_train_step
from pix2pix_jax.models import MultiScaleDiscriminator, PatchDiscriminator, ResNetGenerator, UNetGenerator


def network_channels(config: ConfigDict) -> tuple[int, int]:
    """Returns the (input, output) channels of the generator."""
    return color_space(config).channels(config.input_channels, config.target_channels)


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
        return color_space(config).batch(constrain(batch))

    return make_train_step(
        parts,
        seed=config.seed,
        image_size=tuple(config.image_size),
        mirror=config.mirror,
        augmentation=Augmentation(**config.augment),
        nearest=[name for name in STREAMS if config[f"{name}_interpolation"] == "nearest"],
        objective=build_objective(config),
        update_order=config.update_order,
        accumulate_steps=config.accumulate_steps,
        remat=config.remat,
        ema_decay=config.ema_decay,
        values=stream_values(config),
        prepare=prepare,
    )


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
