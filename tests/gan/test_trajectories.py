"""Ten training steps of every recipe against the same ten in PyTorch (tests/golden/make_trajectories.py)."""

import pathlib
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from pix2pix_jax.gan import objective, train_step
from pix2pix_jax.gan.objective import Objective
from pix2pix_jax.gan.optimizers import make_adam
from pix2pix_jax.gan.state import Parts, create_train_state, random_streams
from pix2pix_jax.models import MultiScaleDiscriminator, PatchDiscriminator, UNetGenerator

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
CASES = runpy.run_path(str(GOLDEN / "cases.py"))
RECIPES = {
    "vanilla": {},
    "lsgan": {"gan_loss": "lsgan"},
    "simultaneous": {"d_loss_scale": 1.0},
    "hinge": {"gan_loss": "hinge"},
    "wgan_gp": {"gan_loss": "wgan-gp"},
    "r1": {"gan_loss": "lsgan", "r1_weight": 10.0},
    "feature_matching": {"gan_loss": "lsgan", "feature_weight": 10.0},
}
SEED, EMA_DECAY = 0, 0.9


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN / "trajectories.npz"))


def build(name: str):
    norm = "instance" if name in ("wgan_gp", "r1") else "batch"
    patch = MultiScaleDiscriminator if name == "feature_matching" else PatchDiscriminator
    adam = make_adam(lambda step: CASES["ADAM"]["learning_rate"], b1=CASES["ADAM"]["b1"], b2=CASES["ADAM"]["b2"])
    parts = Parts(
        generator=UNetGenerator(dropout=0.0, **CASES["GENERATOR"]),
        discriminator=patch(norm=norm, **CASES["DISCRIMINATOR"]),
        g_optimizer=adam,
        d_optimizer=adam,
        objective=Objective(**RECIPES[name]),
    )
    state = jax.eval_shape(lambda: create_train_state(parts, seed=SEED, image_size=(32, 32), ema=True))
    g, d = (start(network) for network in (state.generator, state.discriminator))
    state = state.replace(step=jnp.int32(0), generator=g, discriminator=d, ema=g.params)
    options = train_step.StepOptions(
        seed=SEED,
        image_size=(32, 32),
        mirror=False,
        update_order="simultaneous" if name == "simultaneous" else "sequential",
        ema_decay=EMA_DECAY,
    )
    step = train_step.make_train_step(parts, options)
    return state, jax.jit(step).lower(state, CASES["batch"](0)).compile()


def start(network):
    """Drawn parameters, fresh statistics and optimiser."""
    flat = traverse_util.flatten_dict(network.params, sep="/")
    params = {name: jnp.asarray(CASES["draw"](name, x.shape), jnp.float32) for name, x in flat.items()}
    statistics = traverse_util.flatten_dict(network.batch_stats, sep="/")
    statistics = {name: jnp.full(x.shape, float(name.endswith("var")), jnp.float32) for name, x in statistics.items()}
    return network.replace(
        params=traverse_util.unflatten_dict(params, sep="/"),
        batch_stats=traverse_util.unflatten_dict(statistics, sep="/"),
        opt_state=jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), network.opt_state),
    )


def given_shares(key: jax.Array, count: int) -> jax.Array:
    """In the place of `interpolation_weights`: the shares that the PyTorch program took at the step of this key."""
    keys = [jax.random.split(jax.random.fold_in(random_streams(SEED)[1], i), 3)[2] for i in range(CASES["STEPS"])]
    known = jnp.stack([jax.random.key_data(k) for k in keys])
    index = jnp.argmax((known == jax.random.key_data(key).reshape(1, -1)).all(axis=1))
    return jnp.stack([jnp.asarray(CASES["mixing"](i), jnp.float32) for i in range(CASES["STEPS"])])[index]


QUICK = ("vanilla", "wgan_gp", "feature_matching")  # each part of every recipe but for the other losses' formulas


@pytest.mark.parametrize("name", [pytest.param(x, marks=() if x in QUICK else pytest.mark.heavy) for x in RECIPES])
def test_ten_steps_are_those_of_pytorch(golden, name, monkeypatch):
    monkeypatch.setattr(objective, "interpolation_weights", given_shares)
    golden = {key.removeprefix(f"{name}/"): x for key, x in golden.items() if key.startswith(f"{name}/")}
    state, train_step = build(name)
    history = []
    for i in range(CASES["STEPS"]):
        state, metrics = train_step(state, CASES["batch"](i))
        history.append(metrics)
    for loss in history[0]:
        found = np.array([float(metrics[loss]) for metrics in history])
        # A difference of means, as wgan-gp's losses are, may cross 0: relative to the largest of the steps.
        np.testing.assert_allclose(found, golden[loss], rtol=1e-4, atol=1e-4 * np.abs(golden[loss]).max(), err_msg=loss)
    networks = {"generator": state.generator.params, "discriminator": state.discriminator.params, "ema": state.ema}
    for network, params in networks.items():
        check_parameters(params, {k.split("/", 1)[1]: x for k, x in golden.items() if k.startswith(f"{network}/")})


def check_parameters(params, golden: dict[str, np.ndarray]) -> None:
    """Within a thousandth of what ten steps move a parameter, 10 times the learning rate."""
    if not golden:  # the moving average is stored once
        return
    tolerance = 10 * CASES["ADAM"]["learning_rate"] / 1000
    flat = {name: np.asarray(x) for name, x in traverse_util.flatten_dict(params, sep="/").items()}
    for name, (total, absolute) in zip(golden["parameters"], golden["sums"], strict=True):
        x = flat[str(name)]
        assert abs(x.sum() - total) < tolerance * x.size, name
        assert abs(np.abs(x).sum() - absolute) < tolerance * x.size, name
    for name in golden.keys() & flat.keys():
        error = np.abs(flat[name] - golden[name])
        # Adam's first steps have the size of the learning rate in the direction of a sign, which rounding may turn.
        assert np.quantile(error, 0.99) < tolerance and error.mean() < tolerance, name
