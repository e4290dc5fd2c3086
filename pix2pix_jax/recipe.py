"""From a config to the parts of a run: networks, optimisers, steps, data."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from ml_collections import ConfigDict

from pix2pix_jax.config import num_downs
from pix2pix_jax.data.sources import Pairs, open_source
from pix2pix_jax.models import PatchDiscriminator, UNetGenerator
from pix2pix_jax.optimizers import make_adam, make_schedule
from pix2pix_jax.state import TrainState, create_train_state
from pix2pix_jax.steps import Parts, make_train_step


def build_generator(config: ConfigDict) -> nn.Module:
    return UNetGenerator(
        out_channels=config.target_channels,
        num_downs=num_downs(config),
        features=config.generator.features,
        norm=config.generator.norm,
        dropout=config.generator.dropout,
        dtype=jnp.dtype(config.compute_dtype),
    )


def build_discriminator(config: ConfigDict) -> nn.Module:
    return PatchDiscriminator(
        features=config.discriminator.features,
        num_layers=config.discriminator.num_layers,
        norm=config.discriminator.norm,
        dtype=jnp.dtype(config.compute_dtype),
    )


def build_parts(config: ConfigDict, *, num_examples: int) -> Parts:
    """The networks and an Adam for each."""
    schedule = build_schedule(config, num_examples=num_examples)
    return Parts(
        generator=build_generator(config),
        discriminator=build_discriminator(config),
        g_optimizer=make_adam(schedule, b1=config.b1, b2=config.b2),
        d_optimizer=make_adam(schedule, b1=config.b1, b2=config.b2),
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


def build_train_step(config: ConfigDict, parts: Parts, *, constrain: Callable[[Any], Any] = lambda batch: batch):
    """The train step of the config; see `steps.make_train_step`."""
    return make_train_step(
        parts,
        seed=config.seed,
        image_size=tuple(config.image_size),
        mirror=config.mirror,
        gan_loss=config.gan_loss,
        l1_weight=config.l1_weight,
        update_order=config.update_order,
        constrain=constrain,
    )


def open_pairs(config: ConfigDict, split: str, *, size: tuple[int, int] | None = None) -> Pairs:
    """Opens a split, its images resized to `size`; by default the model's own size."""
    size = size or config.image_size
    source = open_source(config.dataset, split, data_dir=config.data_dir, size=size, seed=config.seed)
    return Pairs(
        source=source,
        direction=config.direction,
        size=size,
        input_channels=config.input_channels,
        target_channels=config.target_channels,
    )


def create_state(config: ConfigDict, parts: Parts) -> TrainState:
    """The state of step 0; traceable."""
    return create_train_state(
        parts.generator,
        parts.discriminator,
        parts.g_optimizer,
        parts.d_optimizer,
        seed=config.seed,
        image_size=tuple(config.image_size),
        input_channels=config.input_channels,
        target_channels=config.target_channels,
    )
