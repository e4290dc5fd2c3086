"""Warnings: none for curves of healthy runs, one for each beginning of what they warn of."""

import functools
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pix2pix_jax.training import health, train

EVERY = 100  # steps a line: 10 lines tell of saturation, 50 and 50 of a plateau
LINES = 200  # of a curve
GUESSING = {"vanilla": math.log(2), "lsgan": 0.25, "hinge": 1.0}

levels = st.floats(0.1, 1.2)  # single lines of real runs of drawn_facades and facades are at 0.09 and more
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def watch(tiny_config):
    """watch(levels, l1, "--config...=") -> [(line, warning), ...] of a run with these curves."""

    @functools.cache
    def config_of(*flags):
        return tiny_config(f"--config.log_every_steps={EVERY}", "--config.batch_size=1", *flags)

    def watch(levels, l1, *flags, gan_loss="vanilla"):
        watch = health.HealthChecks(config_of(f"--config.gan_loss={gan_loss}", *flags), num_examples=400)
        found = []
        for line, (level, value) in enumerate(zip(levels, l1, strict=True), 1):
            loss = level * GUESSING.get(gan_loss, 1.0)
            means = {"d_real": loss * 1.2, "d_fake": loss * 0.8, "g_l1": value, "g_gan": 1.0}
            found += [(line, warning) for warning in watch(line * EVERY, means)]
        return found

    return watch


def falling(seed, *, to=0.5, noise=0.02):
    """An L1 that falls by `to` over the curve, as 64 px drawn_facades does in as many steps, with its noise."""
    return 0.3 * np.geomspace(1, to, LINES) * np.random.default_rng(seed).normal(1, noise, LINES)


@settings(max_examples=30, deadline=None)
@given(st.lists(levels, min_size=LINES, max_size=LINES), seeds, st.sampled_from(sorted(GUESSING)))
def test_healthy_curves_are_met_with_silence(watch, levels, seed, gan_loss):
    assert watch(levels, falling(seed), gan_loss=gan_loss) == []


@settings(max_examples=30, deadline=None)
@given(st.lists(levels, min_size=LINES, max_size=LINES), st.integers(0, LINES - 7), seeds)
def test_seven_lines_at_zero_are_not_long(watch, levels, begin, seed):
    levels[begin : begin + 7] = [0.0] * 7
    assert watch(levels, falling(seed)) == []


@settings(max_examples=30, deadline=None)
@given(seeds, st.sampled_from(sorted(GUESSING)), st.integers(20, 60), st.integers(100, 140))
def test_each_time_that_the_discriminator_begins_to_win_is_told_once(watch, seed, gan_loss, first, second):
    near_zero = np.random.default_rng(seed).uniform(0, 0.035, LINES)  # means on both sides of the threshold
    near_zero[first + 5 : first + 15] = near_zero[second + 5 : second + 15] = 0.01
    curve = np.full(LINES, 0.5)
    for begin in (first, second):
        curve[begin : begin + 30] = near_zero[begin : begin + 30]
    found = watch(curve, falling(seed), gan_loss=gan_loss)
    assert [begin < line <= begin + 30 for begin, (line, _) in zip((first, second), found, strict=True)] == [True, True]
    assert all("discriminator always wins" in warning and "\n" not in warning for _, warning in found)


@pytest.mark.parametrize(
    ("flags", "gan_loss"), [((), "wgan-gp"), (("--config.gan_weight=0",), "vanilla")], ids=["a critic", "none"]
)
def test_a_loss_without_a_zero_tells_nothing(watch, flags, gan_loss):
    assert watch([0.0] * LINES, falling(0), *flags, gan_loss=gan_loss) == []


def test_smooth_labels_and_several_discriminators_set_the_scale(tiny_config):
    least = -0.1 * math.log(0.1) - 0.9 * math.log(0.9)  # of d_real with labels of 0.9
    config = tiny_config("--config.label_smoothing=0.1")
    assert health.discriminator_level({"d_real": least, "d_fake": 0.0}, config) == pytest.approx(0)
    config = tiny_config("--config.gan_loss=lsgan", "--config.discriminator.num_scales=2")
    assert health.discriminator_level({"d_real": 0.5, "d_fake": 0.5}, config) == pytest.approx(1)
    config = tiny_config("--config.gan_loss=hinge", "--config.discriminator.vision_aided=True")  # three heads
    assert health.discriminator_level({"d_real": 4.0, "d_fake": 4.0}, config) == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(seeds, st.floats(0.01, 1.0), st.integers(0, 60))
def test_an_l1_that_stops_is_told_once(watch, seed, level, moving):
    """A generator that has died: what is left is the noise of crops and dropout."""
    curve = level * np.random.default_rng(seed).normal(1, 0.002, LINES)
    curve[:moving] *= np.geomspace(2, 1, moving) if moving else 1
    ((line, warning),) = watch([0.5] * LINES, curve)
    assert 100 <= line <= moving + 100
    assert "\n" not in warning
    assert float(re.search(r"g_l1 has stopped moving: ([\d.]+) over", warning)[1]) == pytest.approx(level, rel=0.02)


@settings(max_examples=30, deadline=None)
@given(seeds, st.floats(0.3, 0.8))
def test_a_slow_fall_is_no_stop(watch, seed, to):
    assert watch([0.5] * LINES, falling(seed, to=to)) == []


@pytest.mark.parametrize(
    "flags",
    [
        ("--config.l1_weight=0",),
        ("--config.schedule=linear", f"--config.num_steps={LINES * EVERY // 2}"),
        ("--config.schedule=step", "--config.schedule_drop_epochs=2", f"--config.num_steps={LINES * EVERY}"),
    ],
)
def test_an_l1_that_nothing_moves_is_expected_to_stop(watch, flags):
    """Its weight is 0, or the learning rate has decayed to almost nothing."""
    assert watch([0.5] * LINES, [0.3] * LINES) != []
    assert watch([0.5] * LINES, [0.3] * LINES, *flags) == []


@given(st.lists(st.just(0.0) | st.floats(1e-6, 10), max_size=60), st.integers(1, 30))
def test_only_the_last_lines_count_and_l1_has_no_unit(values, lines):
    moved = health.movement(values, lines)
    assert moved == health.movement(values[-2 * lines :], lines)
    assert moved == health.movement([4 * value for value in values], lines)
    assert health.mean_level(values, lines) == health.mean_level(values[-lines:], lines)
    assert len(values) >= 2 * lines or moved == math.inf


@pytest.mark.heavy
def test_a_run_whose_generator_hardly_heeds_its_discriminator_is_told_so(tiny_config, tmp_path, capsys):
    """Targets are noise, which a discriminator tells from a blur; it wins a few hundred steps later."""
    a, b = np.random.default_rng(0).integers(0, 256, (2, 8, 16, 16, 3), np.uint8)
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "train.npz", A=a, B=b)
    config = tiny_config(
        "--config.dataset=folder",
        f"--config.data_dir={tmp_path / 'data'}",
        *("--config.image_size=16,16", "--config.resize_size=16,16", "--config.generator.num_downs=2"),
        *("--config.batch_size=1", "--config.num_steps=1600", "--config.log_every_steps=50"),
        *("--config.learning_rate=1e-3", "--config.gan_weight=0.001"),
        *("--config.sample_every_steps=0", "--config.checkpoint_every_steps=0"),
    )
    train.train(config, tmp_path / "run")
    assert capsys.readouterr().out.count("the discriminator always wins") == 1
    assert "wins" not in (tmp_path / "run" / "metrics.jsonl").read_text()
