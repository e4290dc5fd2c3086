"""A run does not depend on how devices share it: losses, statistics and parameters on meshes of 1 to 8 devices."""

import functools
import re

import jax
import numpy as np
import pytest
from golden import drawn_lpips

from pix2pix_jax.configuration import build_model
from pix2pix_jax.gan.state import state_shardings
from pix2pix_jax.runtime import meshes
from pix2pix_jax.training import compiling

STEPS = 3
BATCH_SIZE = 8


def assert_close(a, b, **tolerance):
    jax.tree.map(functools.partial(np.testing.assert_allclose, **tolerance), a, b)


@pytest.fixture(scope="module")
def run(tiny_config, make_batch):
    """Makes (losses of each step, the state after them, the compiled step) of a run on data x rows devices."""

    @functools.cache
    def create(vision_aided=False):
        config = tiny_config(f"--config.discriminator.vision_aided={vision_aided}")
        state = jax.jit(lambda: build_model.create_state(config, build_model.build_parts(config, num_examples=10)))()
        return jax.device_get(state)  # a step overwrites the state that it is given

    @functools.cache
    def run(data, rows, *overrides):
        # Adam divides by the root of a running mean square: a large eps keeps it from magnifying rounding.
        options = ("batch_size=8", "generator.dropout_layers=1,2", "eps=1e-3", f"mesh.rows={rows}", *overrides)
        config = tiny_config(*(f"--config.{option}" for option in options))
        mesh = meshes.make_mesh(batch_size=BATCH_SIZE, accumulate_steps=config.accumulate_steps, data=data, rows=rows)
        start = create(config.discriminator.vision_aided)
        shardings = state_shardings(start, mesh, shard_optimizer=config.shard_optimizer)
        parts = build_model.build_parts(config, num_examples=10)
        state = jax.device_put(start, shardings)
        batch = jax.device_put(make_batch(count=BATCH_SIZE), meshes.batch_sharding(mesh))
        step = compiling.trace_train_step(config, parts, mesh=mesh, state=state, batch=batch).lower().compile()
        losses = []
        for _ in range(STEPS):
            state, metrics = step(state, batch)
            losses.append(jax.device_get(metrics))
        return losses, state, step

    return run


def assert_same_run(one, other):
    """Within 1e-5 (measured: 1e-6) of losses about 1 and of statistics and parameters below 1."""
    assert_close(one[0], other[0], rtol=1e-5, atol=1e-5)
    assert_close(jax.device_get(one[1]), jax.device_get(other[1]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (4, 2),
        *(pytest.param(*mesh, marks=pytest.mark.heavy) for mesh in [(2, 1), (4, 1), (8, 1), (1, 2), (1, 4), (2, 2)]),
    ],
)
def test_a_run_is_the_same_on_every_mesh(run, data, rows):
    """With batch norm over the global batch, and dropout."""
    assert_same_run(run(data, rows), run(1, 1))


def test_parts_are_the_same_on_every_mesh(run):
    """Under accumulate_steps, with batch norm over a part; and no pixel travels to make them."""
    alone, spread = run(1, 1, "accumulate_steps=2"), run(4, 1, "accumulate_steps=2")
    assert_same_run(spread, alone)
    assert not re.search(r"all-to-all|collective-permute|all-gather", spread[2].as_text())
    assert alone[0][0]["g_l1"] == pytest.approx(run(1, 1)[0][0]["g_l1"], rel=0.1) and alone[0] != run(1, 1)[0]


@pytest.fixture
def lpips_weights(monkeypatch, tmp_path):
    np.savez(tmp_path / "lpips.npz", **drawn_lpips())
    monkeypatch.setenv("PIX2PIX_LPIPS", str(tmp_path / "lpips.npz"))


@pytest.mark.heavy
def test_heads_are_the_same_where_rows_are_spread(run, lpips_weights):
    """AlexNet soon makes too few rows to spread. Beside other losses XLA is right by luck, so heads are alone."""
    heads = "discriminator.vision_aided=True"
    assert_same_run(run(2, 2, heads), run(1, 1, heads))


@pytest.mark.heavy
def test_what_the_losses_networks_see_stays_where_it_is(run, lpips_weights):
    """The discriminator's augmentation and heads, feature matching and LPIPS: no pixel travels, as none does else."""
    losses = ("perceptual_weight=1", "feature_weight=1", "diff_augment=color,translation,cutout")
    losses += ("discriminator.vision_aided=True",)
    alone, spread = run(1, 1, *losses), run(8, 1, *losses)
    assert_same_run(spread, alone)
    assert not re.search(r"all-to-all|collective-permute|all-gather", spread[2].as_text())


def test_sharded_moments_change_nothing_but_memory(run):
    spread = run(8, 1, "shard_optimizer=True")
    assert_same_run(spread, run(1, 1))
    for state in (spread[1].generator, spread[1].discriminator):
        moments = jax.tree.leaves(state.opt_state)
        everywhere = sum(x.nbytes for x in moments)
        here = sum(x.addressable_shards[0].data.nbytes for x in moments)
        assert here < everywhere / 6  # vectors, and what 8 does not divide, are whole on every device
        assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves((state.params, state.batch_stats)))
