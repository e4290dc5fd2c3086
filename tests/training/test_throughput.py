"""FLOPs counted in a program, what devices reach, and the line about a run's speed."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.configuration import build_model
from pix2pix_jax.runtime import meshes
from pix2pix_jax.training import samples, throughput, train


def flops_of_step(*overrides: str) -> int:
    config = config_lib.load("default", [f"--config.{override}" for override in overrides])
    parts = build_model.build_parts(config, num_examples=400)
    state = jax.eval_shape(functools.partial(build_model.create_state, config, parts))
    shape = (config.batch_size, *config.resize_size, 3)
    batch = {name: jax.ShapeDtypeStruct(shape, "uint8") for name in ("input", "target")}
    return throughput.count_flops(jax.jit(build_model.build_train_step(config, parts)).trace(state, batch).jaxpr)


def conv_flops(size: int, channels: int, features: int, stride: int = 2) -> tuple[int, int]:
    """(FLOPs of a 4x4 convolution with padding 1, the side of its result); a transposed one's are its transpose's."""
    out = (size + 2 - 4) // stride + 1
    inside = sum(0 <= i * stride + tap - 1 < size for i in range(out) for tap in range(4))
    return 2 * inside**2 * channels * features, out


def closed_form(size: int, features: int, *, downs: int, layers: int) -> int:
    """Of a sequential step of one pair: three passes of the generator (forward, by parameters, by activations), six of
    the discriminator's training, two of the generator's gradient through it; by the first layers' inputs, none."""
    widths = [features * min(2**i, 8) for i in range(downs)]
    generator, side = [], size
    for channels, width in zip([3, *widths], widths, strict=False):
        generator.append(conv_flops(side, channels, width)[0])
        out = channels if side < size else 3
        generator.append(conv_flops(side, width if side == 2 * size >> downs else 2 * width, out)[0])
        side //= 2
    discriminator, side, channels = [], size, 6
    for width, stride in [*((features * min(2**i, 8), 2) for i in range(layers)), (features * 2**layers, 1), (1, 1)]:
        flops, side = conv_flops(side, channels, width, stride)
        discriminator.append(flops)
        channels = width
    # The fake is half of what the discriminator sees, and its gradient alone goes back into the generator.
    return 3 * sum(generator) - generator[0] + 8 * sum(discriminator) - 2 * discriminator[0]


def test_the_published_recipe():
    expected = closed_form(256, 64, downs=8, layers=3)
    assert flops_of_step() == expected
    assert expected == pytest.approx(83.4e9, rel=1e-3)


def test_a_small_recipe_on_any_path():
    small = ("image_size=32,32", "resize_size=36,36", "generator.features=8", "discriminator.features=8")
    small += ("discriminator.num_layers=2",)
    one = closed_form(32, 8, downs=5, layers=2)
    assert flops_of_step(*small) == one
    assert flops_of_step(*small, "batch_size=4", "compute_dtype=bfloat16", "remat=True") == 4 * one
    in_parts = flops_of_step(*small, "batch_size=4", "accumulate_steps=2")
    assert 4 * one < in_parts < 4.8 * one  # a loop, in which the generator runs twice


@pytest.mark.parametrize(
    "options",
    [
        {"window_strides": (1, 1), "padding": [(1, 1), (1, 1)]},
        {"window_strides": (2, 2), "padding": [(1, 1), (1, 2)]},
        {"window_strides": (1, 1), "padding": [(2, 2), (2, 2)], "lhs_dilation": (2, 2)},
        {"window_strides": (1, 2), "padding": [(0, 3), (1, 0)], "rhs_dilation": (2, 3)},
        {"window_strides": (1, 1), "padding": [(1, 1), (1, 1)], "feature_group_count": 2},
    ],
)
@pytest.mark.parametrize("argnums", [None, 0, 1])
def test_convolutions_and_their_gradients_as_xla_counts_them(options, argnums):
    x = jnp.ones((2, 9, 11, 6))
    kernel = jnp.ones((4, 3, 6 // options.get("feature_group_count", 1), 10))

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options)

    function = convolve
    if argnums is not None:
        function = jax.value_and_grad(lambda *operands: jnp.sum(convolve(*operands)), argnums)
    traced = jax.jit(function).trace(x, kernel)
    counted = throughput.count_flops(traced.jaxpr)
    forward = throughput.count_flops(jax.jit(convolve).trace(x, kernel).jaxpr)
    assert counted == forward * (1 if argnums is None else 2)
    assert counted <= traced.lower().cost_analysis()["flops"] <= counted + 2 * x.size * 10  # and a sum


def test_products_loops_and_conditions():
    x, batch = jnp.ones((8, 16)), jnp.ones((5, 16, 4))
    product = 2 * 8 * 16 * 4

    def count(function, *arguments):
        return throughput.count_flops(jax.jit(function).trace(*arguments).jaxpr)

    assert count(lambda x, y: jnp.einsum("ij,njk->nik", x, y), x, batch) == 5 * product
    assert count(lambda x, y: jax.vmap(jnp.matmul, (None, 0))(x, y), x, batch) == 5 * product
    assert count(lambda x, y: jax.lax.scan(lambda c, b: (c, x @ b), 0, y), x, batch) == 5 * product
    branches = (lambda x, y: (x @ y[0]) + (x @ y[1]), lambda x, y: x @ y[0])
    assert count(lambda i, x, y: jax.lax.switch(i, branches, x, y), 0, x, batch) == product


@pytest.mark.parametrize(("batch_size", "rows"), [(1, 1), (2, 2)])
def test_the_ceiling_of_a_mesh(batch_size, rows, monkeypatch):
    monkeypatch.setitem(throughput._SIDES, "cpu", 256)
    mesh = meshes.make_mesh(batch_size=batch_size, data=batch_size, rows=rows)
    assert 1e8 < throughput.measure_ceiling.__wrapped__(mesh, "float32") < 1e15


def test_matrices_that_do_not_fit_leave_the_ceiling_open(monkeypatch):
    monkeypatch.setitem(throughput._SIDES, "cpu", 1 << 23)  # 256 TiB each
    assert throughput.measure_ceiling.__wrapped__(meshes.make_mesh(batch_size=1), "float32") is None


def make_speed(**options) -> throughput.Throughput:
    found = {"start": 10, "batch_size": 4, "flops": lambda: 10**9, "ceiling": lambda: 4e11, "dtype": "float32"}
    return throughput.Throughput(**found | options)


def rate_of(line: str) -> float:
    return float(re.match(r"speed: (\S+) steps/s", line)[1])


def test_what_is_done_between_steps_does_not_count(monkeypatch):
    clock = [0.0]  # ours, since on a busy machine a sleep takes as long as it likes
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(throughput, "_SETTLED", 1.2)
    speed = make_speed()
    speed.skip(17)
    lines = []
    for step in range(11, 31):
        clock[0] += 5.0 if step in (11, 12, 17) else 0.125
        speed.finished(step)
        lines += speed.settled({step + 1: {}, step + 2: {}})
    assert len(lines) == 1  # once
    assert rate_of(lines[0]) == rate_of(speed.summary()[0]) == 8


def test_the_line():
    speed = make_speed()
    assert speed.summary() == []
    for too_few in ((9, 60.0), (4000, 0.9)):
        speed._steps, speed._seconds = too_few
        assert speed.summary() == []
    speed._steps, speed._seconds = 240, 2.0
    text = "speed: 120 steps/s, 480 images/s, 120 GFLOP/s"
    share = ", 30 % of the 400 GFLOP/s that float32 matrix products reach here"
    after = " (without samples, evaluations and checkpoints)"
    assert speed.summary() == [text + share + after]
    speed = make_speed(ceiling=lambda: None)
    speed._steps, speed._seconds = 240, 2.0
    assert speed.summary() == [text + after]
    speed = make_speed(ceiling=lambda: 0.5e11)  # of what others left when it was measured: no form saves so much
    speed._steps, speed._seconds = 240, 2.0
    assert speed.summary() == [text + after]


def test_the_ceiling_is_measured_when_no_step_is_under_way():
    class Losses:
        ready = False

        def block_until_ready(self):
            self.ready = True

    measured, losses = [], Losses()

    def ceiling():
        measured.append(losses.ready)
        return 4e11

    speed = make_speed(ceiling=ceiling)
    assert speed.settled({}) == [] and measured == []  # a start does not wait for it
    speed._steps, speed._seconds = 240, 20.0
    (line,) = speed.settled({251: {"g_l1": losses}})
    assert measured == [True] and "of the 400 GFLOP/s" in line
    before = speed._steps
    for step in (250, 251, 252):  # 251 waited
        speed.finished(step)
    assert speed._steps == before + 2


def test_a_run_says_how_fast_it_was_unless_it_is_too_short(tiny_config, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(samples.Sampler, "compiling", False)
    config = tiny_config("--config.sample_every_steps=0", "--config.checkpoint_every_steps=0")
    train.train(config, tmp_path / "short")
    assert "speed:" not in capsys.readouterr().out
    monkeypatch.setattr(throughput, "_FEWEST", 1)
    monkeypatch.setattr(throughput, "_SHORTEST", 0.0)
    train.train(config, tmp_path / "run")
    (line,) = re.findall(r"^speed: .*$", capsys.readouterr().out, re.MULTILINE)
    assert re.search(r"FLOP/s, \d+ % of the [\d.]+ .FLOP/s that float32 matrix products reach here", line)


def test_which_steps_of_a_run_count(tiny_config, tmp_path, monkeypatch):
    """Not the first three, nor those that wait for something, nor those beside a compilation."""
    counted = []

    class Recording(throughput.Throughput):
        def finished(self, step):
            before = self._steps
            super().finished(step)
            counted.extend([step] * (self._steps - before))

    monkeypatch.setattr(throughput, "Throughput", Recording)
    beside = [6]  # the step at which samples are still being compiled
    on_step = samples.Samples.on_step

    def at_step(self, step, *arguments):
        monkeypatch.setattr(samples.Sampler, "compiling", step in beside)
        on_step(self, step, *arguments)

    monkeypatch.setattr(samples.Samples, "on_step", at_step)
    other = {"sample": 5, "checkpoint": 8, "eval": 11}
    periods = [f"--config.{name}_every_steps={period}" for name, period in other.items()]
    train.train(tiny_config(*periods, "--config.num_steps=19", "--config.profile_steps=14,15"), tmp_path)
    assert counted == [4, 5, 8, 10, 13, 18, 19]
