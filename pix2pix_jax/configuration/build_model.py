"""Builds the model of a config: networks, optimisers, objective, train step and state."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from etils import epy
from ml_collections import ConfigDict

from pix2pix_jax.configuration.build_data import STREAMS, color_space, num_downs, stream_values
from pix2pix_jax.data.augment import Augmentation
from pix2pix_jax.errors import check_bounds, check_choice
from pix2pix_jax.gan.objective import Objective
from pix2pix_jax.gan.optimizers import freeze, make_adam, make_schedule
from pix2pix_jax.gan.state import Parts, TrainState, create_train_state
from pix2pix_jax.gan.train_step import Batch, StepOptions, make_train_step
from pix2pix_jax.models import (
    Backbone,
    MultiScaleDiscriminator,
    PatchDiscriminator,
    ResNetGenerator,
    UNetGenerator,
    VisionAidedDiscriminator,
)
from pix2pix_jax.models.convolutions import layers
from pix2pix_jax.models.initialization import shapes_only

with epy.lazy_imports():  # a config without LPIPS needs neither its network nor PyTorch's files
    from pix2pix_jax.metrics import lpips, weights

FREEZABLE = ("encoder", "inner")  # parts of a generator, for the config's field `freeze`
_HEADS = (1, 2, 4)  # the layers of AlexNet that the heads of a vision-aided discriminator judge
_ENDS = {"unet": ("down0", "up0"), "resnet": ("stem", "stem_norm", "head")}  # the layers that see the images' channels


def network_channels(config: ConfigDict) -> tuple[int, int]:
    """Returns the (input, output) channels of the generator; colourisation translates L into a, b."""
    return color_space(config).channels(config.input_channels, config.target_channels)


def build_generator(config: ConfigDict) -> nn.Module:
    check_choice("name", config.generator.name, ("unet", "resnet"))
    options = _shared_options(config, config.generator) | _same(config.generator, "dropout")
    options["out_channels"] = network_channels(config)[1]
    if config.generator.name == "resnet":
        return ResNetGenerator(num_blocks=config.generator.num_blocks, **options)
    options |= _same(config.generator, "skips", "dropout_layers", "bottleneck_norm", "decoder_activation")
    return UNetGenerator(num_downs=num_downs(config), **options)


def build_discriminator(config: ConfigDict) -> nn.Module:
    check_choice("name", config.discriminator.name, ("patchgan",))
    options = _shared_options(config, config.discriminator)
    options |= _same(config.discriminator, "num_layers", "padding", "conditional", "spectral_norm")
    if config.discriminator.vision_aided:
        backbone = _build_backbone(config)
        return VisionAidedDiscriminator(num_scales=config.discriminator.num_scales, backbone=backbone, **options)
    if config.discriminator.num_scales == 1:
        return PatchDiscriminator(**options)
    return MultiScaleDiscriminator(num_scales=config.discriminator.num_scales, **options)


def _build_backbone(config: ConfigDict) -> Backbone:
    """Builds LPIPS' AlexNet as what heads of the discriminator see; its weights are read when it is traced."""
    _check_alexnet_fits(config, "vision_aided", remedy="False")
    load = functools.cache(lambda: weights.load(weights.LPIPS).variables)  # a step calls the network three times

    def activations(candidate: jax.Array) -> list[jax.Array]:
        layers = lpips.activations(load(), candidate, dtype=jnp.dtype(config.compute_dtype), precision=None)
        return [layers[i] for i in _HEADS]

    return Backbone(activations, widths=tuple(lpips.WIDTHS[i] for i in _HEADS))


def count_judges(config: ConfigDict) -> int:
    """Counts the scales and heads of the discriminator, whose losses are added up."""
    return config.discriminator.num_scales + config.discriminator.vision_aided * len(_HEADS)


def _check_alexnet_fits(config: ConfigDict, field: str, *, remedy: str) -> None:
    if network_channels(config)[1] != 3 or min(config.image_size) < lpips.SIDE:
        raise ValueError(
            f"{field}: LPIPS' AlexNet sees RGB images of at least {lpips.SIDE} pixels a side; use {remedy}"
        )


def _shared_options(config: ConfigDict, network: ConfigDict) -> dict[str, Any]:
    check_choice("compute_dtype", config.compute_dtype, ("float32", "bfloat16"))
    own = _same(network, "features", "norm", "bias", "slope")
    shared = _same(config, "norm_epsilon", "norm_momentum", "norm_scale_std")
    return own | shared | {"dtype": jnp.dtype(config.compute_dtype)}


def _same(group: ConfigDict, *names: str) -> dict[str, Any]:
    """Returns the fields that are called as the options they set."""
    return {name: group[name] for name in names}


def build_parts(config: ConfigDict, *, num_examples: int) -> Parts:
    """Builds the networks, an Adam for each, and the objective; `num_examples` is the size of the training split."""
    schedule = build_schedule(config, num_examples=num_examples)
    adam = make_adam(schedule, b1=config.b1, b2=config.b2, eps=config.eps)
    return Parts(
        generator=build_generator(config),
        discriminator=build_discriminator(config),
        g_optimizer=freeze(adam, functools.partial(is_frozen, config)) if config.freeze else adam,
        d_optimizer=adam,
        objective=Objective.from_config(config, perceptual=build_perceptual(config)),
    )


def is_frozen(config: ConfigDict, layer: str) -> bool:
    """Returns whether `config.freeze` keeps a layer of the generator, such as "down0", as it is."""
    if config.freeze == "encoder":
        return layer.startswith(("stem", "down"))
    return config.freeze == "inner" and layer not in _ENDS[config.generator.name]


def build_perceptual(config: ConfigDict) -> Callable[[jax.Array, jax.Array], jax.Array] | None:
    """Builds LPIPS as a loss, in the dtype of the networks; its weights are read, or downloaded, when it is traced."""
    if not config.perceptual_weight:
        return None
    _check_alexnet_fits(config, "perceptual_weight", remedy="0")

    def distance(output: jax.Array, target: jax.Array) -> jax.Array:
        network = lpips.LPIPS(dtype=jnp.dtype(config.compute_dtype), precision=None)
        return network.apply(weights.load(weights.LPIPS).variables, output, target)

    return distance


def build_schedule(config: ConfigDict, *, num_examples: int) -> optax.Schedule:
    """Builds the learning rate: it changes once an epoch as published, or every step where `num_steps` is set."""
    check_bounds("num_epochs", config.num_epochs, 1)
    check_bounds("schedule_drop_epochs", config.schedule_drop_epochs, 1)
    schedule = functools.partial(make_schedule, config.schedule, learning_rate=config.learning_rate)
    drop = config.schedule_drop_epochs
    if config.num_steps is None:
        epoch = {"num_examples": num_examples, "batch_size": config.batch_size}
        return schedule(num_periods=config.num_epochs, drop_every=drop, **epoch)
    check_bounds("num_steps", config.num_steps, 1)
    return schedule(num_periods=config.num_steps, drop_every=max(1, drop * num_examples // config.batch_size))


def total_steps(config: ConfigDict, *, num_examples: int) -> int:
    """Returns `num_steps`, or the number of steps that show each example `num_epochs` times."""
    return config.num_steps or max(1, config.num_epochs * num_examples // config.batch_size)


def build_step_options(config: ConfigDict) -> StepOptions:
    """Takes the options of the train step from a config whose dtypes are resolved (`build_data.resolve_dtypes`)."""
    return StepOptions(
        image_size=tuple(config.image_size),
        augmentation=build_augmentation(config),
        nearest=tuple(name for name in STREAMS if config[f"{name}_interpolation"] == "nearest"),
        values=stream_values(config),
        diff_augment=tuple(config.diff_augment),
        **_same(config, "seed", "mirror", "update_order", "accumulate_steps", "remat", "ema_decay"),
    )


def build_augmentation(config: ConfigDict) -> Augmentation:
    of_both = _same(config.augment, "rot90", "flip_vertical", "rotate_degrees", "scale")
    of_inputs = _same(config.augment, "brightness", "contrast", "saturation", "hue", "blur", "noise")
    return Augmentation(**of_both, **of_inputs)


def build_train_step(
    config: ConfigDict,
    parts: Parts,
    *,
    constrain: Callable[[Any], Any] = lambda batch: batch,
    constrain_whole: Callable[[jax.Array], jax.Array] | None = None,
):
    """Builds the train step (`make_train_step`) of a config whose dtypes are resolved.

    `constrain` places the augmented batch on the mesh, and `constrain_whole` what trained networks see of it.
    """

    def prepare(batch: Batch) -> Batch:
        return color_space(config).batch(constrain(batch))

    if constrain_whole:
        parts = _see_by(constrain_whole, parts)
    return make_train_step(parts, build_step_options(config), prepare=prepare)


def _see_by(place: Callable[[jax.Array], jax.Array], parts: Parts) -> Parts:
    """Has trained networks see images as `place` returns them.

    XLA computes another discriminator's update, without a word, where AlexNet's rows are spread over devices that do
    not divide them (jax 0.10.2; tests/runtime/test_mesh.py).
    """
    objective, discriminator = parts.objective, parts.discriminator
    if distance := objective.perceptual:
        placed = lambda output, target: distance(place(output), place(target))  # noqa: E731
        objective = dataclasses.replace(objective, perceptual=placed)
    if isinstance(discriminator, VisionAidedDiscriminator):
        see = discriminator.backbone.activations
        backbone = dataclasses.replace(discriminator.backbone, activations=lambda candidate: see(place(candidate)))
        discriminator = discriminator.clone(backbone=backbone)
    return dataclasses.replace(parts, objective=objective, discriminator=discriminator)


def create_state(config: ConfigDict, parts: Parts) -> TrainState:
    """Initialises the state of step 0; traceable."""
    input_channels, target_channels = network_channels(config)
    return create_train_state(
        parts,
        seed=config.seed,
        image_size=tuple(config.image_size),
        input_channels=input_channels,
        target_channels=target_channels,
        ema=config.ema_decay > 0,
    )


def inference_variables(config: ConfigDict, state: Any) -> dict[str, Any]:
    """Returns {"params", "batch_stats"} of the generator for inference, out of a TrainState or one like it."""
    params = state.ema if config.inference.weights == "ema" else state.generator.params
    return {"params": params, "batch_stats": state.generator.batch_stats}


def abstract_variables(config: ConfigDict, network: str = "generator") -> dict[str, Any]:
    """Returns the shapes and dtypes of the generator's variables for inference, or of the discriminator's."""
    is_generator = network == "generator"
    module = build_generator(config) if is_generator else build_discriminator(config)
    channels = network_channels(config)[: 1 if is_generator else 2]
    images = [jax.ShapeDtypeStruct((1, *config.image_size, n), jnp.float32) for n in channels]
    options = {"deterministic": True} if is_generator else {}

    @layers.traced_for("default")  # the form of fewest operations
    def init(images):
        with shapes_only():
            return module.init(jax.random.key(0), *images, **options)

    variables = jax.eval_shape(init, images)
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}
