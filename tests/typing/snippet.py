"""A user's program. It is not run, but pyright checks it strictly: what it takes from the package has a known type."""

import dataclasses
import pathlib
from typing import assert_type

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import pix2pix_jax


def translate(folder: pathlib.Path, picture: Image.Image, tensor: jax.Array) -> np.ndarray:
    try:
        model = pix2pix_jax.load(folder, step="best", weights="ema")
    except pix2pix_jax.UserError as error:
        raise SystemExit(str(error)) from error
    assert_type(model, pix2pix_jax.TrainedModel)
    assert_type(model.step, int)
    assert_type(model.translate(picture, seed=1), Image.Image)
    assert_type(model.translate("picture.png"), np.ndarray)
    assert_type(model.translate(folder / "picture.png"), np.ndarray)
    assert_type(model.translate(tensor.astype(jnp.bfloat16)), np.ndarray)
    return model.translate(np.zeros((256, 256, 3), np.uint8))


def run(inputs: np.ndarray, targets: np.ndarray) -> float:
    config = pix2pix_jax.config("facades", batch_size=4, generator={"features": 32})
    try:
        model = pix2pix_jax.train(config, "runs/mine", data=(inputs, targets))
    except pix2pix_jax.Interrupted as stopped:
        raise SystemExit(str(stopped)) from stopped
    assert_type(model, pix2pix_jax.TrainedModel)
    files = pix2pix_jax.translate("runs/mine", pathlib.Path("photos"), "translated", size="native")
    result = pix2pix_jax.evaluate("runs/mine", data=[(files[0], files[1])], metrics=("l1",))
    return result.mean["l1"]


def train(batch: dict[str, jax.Array]) -> jax.Array:
    schedule = pix2pix_jax.make_schedule("constant", learning_rate=2e-4, num_periods=1)
    parts = pix2pix_jax.Parts(
        generator=pix2pix_jax.UNetGenerator(num_downs=5, features=8),
        discriminator=pix2pix_jax.PatchDiscriminator(features=8),
        g_optimizer=pix2pix_jax.make_adam(schedule),
        d_optimizer=pix2pix_jax.make_adam(schedule),
        objective=pix2pix_jax.Objective(gan_loss="lsgan", l1_weight=10.0),
    )
    state = pix2pix_jax.create_train_state(parts, seed=0, image_size=(32, 32))
    assert_type(state, pix2pix_jax.TrainState)
    assert_type(state.generator, pix2pix_jax.NetworkState)
    options = pix2pix_jax.StepOptions(seed=0, image_size=(32, 32), accumulate_steps=2)
    train_step = pix2pix_jax.make_train_step(parts, options)
    state, metrics = train_step(state, batch)
    assert_type(dataclasses.replace(state, step=jnp.int32(0)), pix2pix_jax.TrainState)
    return metrics["g_l1"]


def score(fakes: jax.Array, targets: jax.Array) -> dict[str, jax.Array]:
    return {
        "psnr": pix2pix_jax.psnr(fakes, targets),
        "ssim": pix2pix_jax.ssim(fakes, targets),
        "ms_ssim": pix2pix_jax.ms_ssim(fakes, targets),
    }


def other_parts(images: jax.Array, keys: jax.Array) -> jax.Array:
    generator = pix2pix_jax.ResNetGenerator(features=8)
    pix2pix_jax.MultiScaleDiscriminator(features=8)
    translate_step = pix2pix_jax.make_translate_step(generator, norm_stats="running", dropout=False)
    return translate_step({"params": {}, "batch_stats": {}}, images, keys)
