"""Freed memory stays with the process, seen from a process of its own as it cannot be undone; XLA fuses outputs."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import optax
import pytest

from pix2pix_jax.gan.optimizers import make_adam
from pix2pix_jax.runtime import cpu

FUSED = "--xla_backend_extra_options=xla_cpu_use_multi_output_fusion=true"
OFF = "--xla_backend_extra_options=xla_cpu_nothing=1"
PROGRAM = """
import resource, sys, threading
from pix2pix_jax.gan.optimizers import make_adam
from pix2pix_jax.runtime import cpu
kept = cpu.keep_freed_memory() if sys.argv[1] == "keep" else False
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        b"x" * 100_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def run():
    faults()
    print(kept, faults())
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


def faults(mode: str) -> tuple[str, int]:
    command = [sys.executable, "-c", PROGRAM, mode]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env={"JAX_PLATFORMS": "cpu"})
    kept, count = answer.stdout.split()
    return kept, int(count)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_not_fetched_from_the_kernel_again():
    kept, count = faults("keep")
    assert kept == "True"
    assert count < 100
    assert faults("not")[1] > 1000  # 4 x 100 MB are 97,656 pages of 4 kB


def test_nothing_is_done_beside_an_accelerator(monkeypatch, tmp_path):
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(cpu, "_ACCELERATORS", (f"{tmp_path}/nvidia[0-9]*",))
    monkeypatch.setenv("JAX_PLATFORMS", "")
    assert not cpu.keep_freed_memory()
    monkeypatch.setenv("XLA_FLAGS", "")
    assert not cpu.fuse_outputs()


def test_adam_takes_one_pass():
    """Where this fails, XLA has lost or renamed its option, and a step takes a sixth more time; with OFF it does."""
    adam, leaf = make_adam(lambda step: 1e-3), jnp.ones((64, 64))

    def step(params, state, grads):
        updates, state = adam.update(grads, state)
        return optax.apply_updates(params, updates), state

    program = jax.jit(step).lower(leaf, adam.init(leaf), leaf).compile()
    large = [line for line in program.as_text().splitlines() if " fusion(" in line and "f32[64,64]" in line]
    assert len(large) == 1  # for the moments and the parameters; otherwise three


@pytest.mark.parametrize("flags", ["", "--xla_cpu_enable_fast_math=false"])
def test_other_flags_stay(monkeypatch, flags):
    monkeypatch.setenv("XLA_FLAGS", flags)
    assert cpu.fuse_outputs()
    assert os.environ["XLA_FLAGS"].split() == [*flags.split(), FUSED]
    assert not cpu.fuse_outputs()  # once is enough


def test_another_extra_option_keeps_it_off(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", OFF)
    assert not cpu.fuse_outputs()
    assert os.environ["XLA_FLAGS"] == OFF
