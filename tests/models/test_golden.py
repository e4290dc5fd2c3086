"""The networks against the published architecture in PyTorch (tests/golden/make_golden.py)."""

import pathlib
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from pix2pix_jax.models import PatchDiscriminator, UNetGenerator

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "models.npz"
SPREAD = {"kernel": (0, 0.1), "bias": (0, 0.1), "scale": (1, 0.1), "image": (0, 0.5)}


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """As in make_golden.py."""
    mean, deviation = SPREAD[name.split("/")[-1]]
    values = mean + deviation * np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    return values.astype(np.float32)


def images(size: int) -> tuple[np.ndarray, np.ndarray]:
    return tuple(draw(f"{name}/{size}/image", (2, size, size, 3)) for name in ("input", "target"))


def answer(model, *inputs: np.ndarray, kernel: str | None):
    """Output, gradient of its sum of squares by the kernel of one layer, and running statistics after the pass.

    The gradient is None without `kernel`: it takes most of the time to compile.
    """
    shapes = jax.eval_shape(lambda: model.init({"params": jax.random.key(0)}, *inputs, **MODES[type(model)]))
    flat = traverse_util.flatten_dict(shapes["params"], sep="/")
    params = traverse_util.unflatten_dict({name: draw(name, x.shape) for name, x in flat.items()}, sep="/")
    stats = {
        norm: {"mean": jnp.zeros(s["mean"].shape), "var": jnp.ones(s["var"].shape)}
        for norm, s in shapes["batch_stats"].items()
    }

    @jax.jit
    def run(params):
        def loss(params):
            variables = {"params": params, "batch_stats": stats}
            output, updates = model.apply(variables, *inputs, mutable=["batch_stats"], **MODES[type(model)])
            return jnp.square(output).sum(), (output, updates["batch_stats"])

        if kernel is None:
            _, (output, after) = loss(params)
            return output, None, after
        gradients, (output, after) = jax.grad(loss, has_aux=True)(params)
        return output, gradients[kernel]["kernel"], after

    output, gradient, after = run(params)
    norms = sorted(after, key=lambda name: int(name.removeprefix("BatchNorm_")))
    return output, gradient, {m: np.concatenate([after[n][m] for n in norms]) for m in ("mean", "var")}


MODES = {UNetGenerator: {"deterministic": True}, PatchDiscriminator: {}}


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN))


def close(actual, desired):
    assert np.shape(actual) == desired.shape
    np.testing.assert_allclose(actual, desired, rtol=1e-4, atol=1e-4 * np.abs(desired).max())


@pytest.mark.parametrize(("size", "num_downs"), [(32, 5), (64, 6)])
def test_the_generator_is_the_published_u_net(golden, size, num_downs):
    model = UNetGenerator(num_downs=num_downs, features=4)
    output, gradient, stats = answer(model, images(size)[0], kernel="down1" if size == 32 else None)
    np.testing.assert_allclose(output, golden[f"{size}/output"], atol=1e-4)
    if gradient is not None:
        close(gradient, golden["32/generator_gradient/down1"])
    close(stats["mean"], golden[f"{size}/generator_mean"])
    close(stats["var"], golden[f"{size}/generator_var"])


@pytest.mark.parametrize("size", [32, 64])
def test_the_discriminator_is_the_published_patchgan(golden, size):
    logits, gradient, stats = answer(
        PatchDiscriminator(features=4), *images(size), kernel="conv1" if size == 32 else None
    )
    np.testing.assert_allclose(logits, golden[f"{size}/logits"], atol=1e-4)
    if gradient is not None:
        close(gradient, golden["32/discriminator_gradient/conv1"])
    close(stats["mean"], golden[f"{size}/discriminator_mean"])
    close(stats["var"], golden[f"{size}/discriminator_var"])
