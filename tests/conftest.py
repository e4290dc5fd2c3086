"""Shared by all tests: 8 fake CPU devices, strict JAX, and one tiny trained run.

Compilation is most of the tests' time, so models are tiny and compiled steps and runs are shared.
"""

import functools
import os
from importlib import metadata

# Programs run a few times each here, so compiling them well would take longer than it saves. But a rounding that XLA's
# own defaults bring, or what happens between two log lines, shows only as users run: PIX2PIX_TESTS=as_users, in CI.
AS_USERS = os.environ.get("PIX2PIX_TESTS") == "as_users"
_XLA = " --xla_force_host_platform_device_count=8"
if not AS_USERS:
    _XLA += " --xla_backend_optimization_level=0"
    if metadata.version("jaxlib").startswith("0.10."):  # later ones have no other emitters, and abort on unknown flags
        _XLA += " --xla_cpu_use_fusion_emitters=false"
        _XLA += " --xla_cpu_parallel_codegen_split_count=1"  # 32 modules for LLVM instead of one are twice the work
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + _XLA
os.environ["JAX_PLATFORMS"] = "cpu"

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from fake_gcs import FakeGCS

jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS(sys.argv[:1])  # grain reads absl flags, which pytest never parses

from pix2pix_jax import cli
from pix2pix_jax import configuration as config_lib
from pix2pix_jax.configuration import build_model
from pix2pix_jax.training.train import train as train_run

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"

# As users: those of configs/default.py scaled down, but a checkpoint falls between two log lines.
PERIODS = {"log": 2, "sample": 3, "checkpoint": 3, "eval": 3}
if not AS_USERS:
    PERIODS |= {"log": 1, "eval": 0}

TINY = (
    "--config.image_size=32,32",
    "--config.resize_size=36,36",
    "--config.generator.features=8",
    "--config.generator.num_downs=3",
    "--config.discriminator.features=8",
    "--config.discriminator.num_layers=1",
    "--config.direction=BtoA",
    "--config.batch_size=2",
    "--config.num_steps=6",
    "--config.schedule=constant",
    "--config.mesh.data=1",
    "--config.data_residency=host",
    "--config.num_samples=2",
    *(f"--config.{name}_every_steps={steps}" for name, steps in PERIODS.items()),
)


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Programs that several tests or subprocesses need are compiled once a session."""
    everyones = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        everyones = everyones.parent
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(everyones / "xla"))  # CI lets two sessions share one
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="session")
def tiny_config():
    """Makes a checked config of a run of seconds: tiny_config("--config.batch_size=1", ...)."""
    return lambda *overrides: config_lib.load("default", [*TINY, *overrides])


@pytest.fixture
def run(capsys):
    """run("evaluate", "--workdir=W") -> (exit code, stdout, stderr)."""

    def run(*arguments):
        capsys.readouterr()
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stopped:  # as argparse ends
            code = stopped.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def train(run, tiny_flags, tmp_path):
    """Trains the tiny config, whose source is the folder set `data`, in tmp_path/run."""

    def train(data, *overrides, workdir=tmp_path / "run"):
        source = ("--config.dataset=folder", f"--config.data_dir={data}")
        return run("train", "--config=default", f"--workdir={workdir}", *tiny_flags, *source, *overrides)

    return train


@pytest.fixture(scope="session")
def tiny_flags(tiny_config):
    """The flags that `tiny_config` is made of."""
    fields = config_lib.flatten(config_lib.load("default"))
    tiny = config_lib.flatten(tiny_config())
    changed = {name: value for name, value in tiny.items() if fields[name] != value}
    return [
        f"--config.{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in changed.items()
    ]


@pytest.fixture(scope="session")
def make_batch():
    """Makes a batch at the load size of `tiny_config`: blocks of random colours, and their negatives."""

    def make_batch(count: int = 2) -> dict[str, jax.Array]:
        blocks = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8)
        image = jnp.asarray(blocks.repeat(9, axis=1).repeat(9, axis=2))
        return {"input": image, "target": 255 - image}

    return make_batch


@pytest.fixture(scope="session")
def build():
    """Makes of a config (its parts, the state of step 0, the train step)."""

    def build(config):
        parts = build_model.build_parts(config, num_examples=10)
        state = jax.jit(functools.partial(build_model.create_state, config, parts))()
        return parts, state, jax.jit(build_model.build_train_step(config, parts))

    return build


@pytest.fixture(scope="session")
def trained(tmp_path_factory, tiny_config):
    """The workdir of a tiny run of 6 steps on drawn_facades. Not to be written to."""
    workdir = tmp_path_factory.mktemp("trained") / "run"
    train_run(tiny_config(), workdir)
    return workdir


@pytest.fixture(scope="session")
def facades():
    """The published facades; only where the shared research data lies beside the checkout."""
    folder = SHARED / "data" / "facades"
    if not folder.is_dir():
        absent = pytest.fail if "CI" in os.environ else pytest.skip
        absent("needs the published facades in ../shared/data/facades, which users do not have")
    return folder


@pytest.fixture
def bucket(monkeypatch):
    """A bucket that gs://bucket/... leads to, here and in subprocesses, and nothing that gcsfs knows of another one."""
    with FakeGCS().running() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        _forget_buckets()
        yield store
    _forget_buckets()


def _forget_buckets():
    import gcsfs
    from etils.epath import backend

    gcsfs.GCSFileSystem.clear_instance_cache()
    gcsfs.core.GCSFileSystem.clear_instance_cache()
    backend.fsspec_backend._get_filesystem.cache_clear()
