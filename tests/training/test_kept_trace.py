"""The train step that an earlier start has traced: the same bits, and never that of other code or another config."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from pix2pix_jax.runtime import caches, meshes
from pix2pix_jax.training import kept_trace, train
from pix2pix_jax.training.run import Run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where traces are kept, in a process that keeps them."""
    place = tmp_path / "xla" / "pix2pix_jax"
    monkeypatch.setattr(caches, "folder_of_traces", lambda: place)
    return place


def no_trace(*_, **__):
    raise AssertionError("the step was traced")


def assert_same(first, second):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(first), jax.device_get(second))


def test_a_second_run_has_the_first_ones_trace_and_its_bits(tiny_config, tmp_path, folder, monkeypatch):
    config = tiny_config()
    first = train.train(config, tmp_path / "first")
    (file,) = folder.iterdir()
    monkeypatch.setattr(kept_trace, "_trace", no_trace)
    assert_same(train.train(config, tmp_path / "second"), first)
    assert list(folder.iterdir()) == [file]
    monkeypatch.undo()
    assert_same(train.train(config, tmp_path / "without"), first)  # traced and compiled as libraries do


@pytest.mark.parametrize("damage", ["short", "changed", "empty"])
def test_a_damaged_file_is_written_again(tiny_config, tmp_path, folder, damage):
    first = train.train(tiny_config(), tmp_path / "first")
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    damaged = {"short": whole[:-1], "changed": whole[:-1] + bytes([whole[-1] ^ 1]), "empty": b""}
    file.write_bytes(damaged[damage])
    assert_same(train.train(tiny_config(), tmp_path / "second"), first)
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_made_costs_nothing_but_time(tiny_config, tmp_path, folder):
    folder.parent.write_text("a file")
    train.train(tiny_config(), tmp_path / "run")


@pytest.mark.parametrize("error", [ModuleNotFoundError, NotImplementedError, ValueError])
def test_a_step_that_cannot_be_kept_is_trained_all_the_same(tiny_config, tmp_path, folder, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr(kept_trace.export, "export", fails)
    train.train(tiny_config("--config.num_steps=1"), tmp_path / "run")
    assert not folder.exists()


def names(folder, configs, tmp_path) -> list[str]:
    """The file of each config's run."""
    found = []
    for number, config in enumerate(configs):
        known = set(folder.iterdir()) if folder.exists() else set()
        train.train(config, tmp_path / f"run{number}")
        found += [path.name for path in set(folder.iterdir()) - known] or ["known"]
    return found


def test_another_config_is_another_trace(tiny_config, tmp_path, folder):
    configs = [tiny_config(flag) for flag in ("--config.seed=0", "--config.l1_weight=50", "--config.seed=0")]
    first, other, again = names(folder, configs, tmp_path)
    assert first != other and again == "known"


def a_run(config, tmp_path) -> Run:
    mesh = meshes.make_mesh(batch_size=config.batch_size, data=config.mesh.data)
    rest = dict.fromkeys(("parts", "checkpoints", "validator"))  # which no name depends on
    return Run(config=config, workdir=tmp_path, mesh=mesh, pairs=range(7), **rest)


@pytest.mark.parametrize("change", ["code", "library", "setting", "python"])
def test_whatever_a_trace_follows_from_is_in_its_name(tiny_config, folder, tmp_path, monkeypatch, change):
    package, libraries = tmp_path / "package", tmp_path / "libraries"
    (package / "models").mkdir(parents=True)
    (package / "models" / "unet.py").write_text("slope = 0.2\n")
    (libraries / "flax-0.12.0.dist-info").mkdir(parents=True)
    monkeypatch.setattr(kept_trace, "_PACKAGE", package)
    monkeypatch.setattr(sys, "path", [*sys.path, str(libraries)])
    state, batch = {"kernel": jax.ShapeDtypeStruct((4,), np.float32)}, {"input": jax.ShapeDtypeStruct((2,), np.uint8)}
    run = a_run(tiny_config(), tmp_path)
    before = kept_trace.place(run, state, batch)
    assert before.parent == folder and before == kept_trace.place(run, state, batch)
    if change == "code":
        (package / "models" / "unet.py").write_text("slope = 0.3\n")
    elif change == "library":
        (libraries / "flax-0.12.0.dist-info").rename(libraries / "flax-0.12.1.dist-info")
    elif change == "setting":
        monkeypatch.setenv("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    else:
        monkeypatch.setattr(sys, "version", "3.99")
    assert kept_trace.place(run, state, batch) != before
    assert kept_trace.place(run, state, {"input": jax.ShapeDtypeStruct((3,), np.uint8)}) != before


@pytest.mark.parametrize(
    "flag",
    ["--config.mesh.data=2", "--config.perceptual_weight=1", "--config.discriminator.vision_aided=True"],
)
def test_several_devices_and_trained_networks_keep_none(tiny_config, tmp_path, folder, flag):
    state = {"kernel": jax.ShapeDtypeStruct((4,), np.float32)}
    assert kept_trace.place(a_run(tiny_config(), tmp_path), state, {})
    assert kept_trace.place(a_run(tiny_config(flag), tmp_path), state, {}) is None


def test_a_package_without_sources_keeps_none(tiny_config, tmp_path, folder, monkeypatch):
    monkeypatch.setattr(kept_trace, "_PACKAGE", tmp_path / "compiled")
    assert kept_trace.place(a_run(tiny_config(), tmp_path), {}, {}) is None


def test_the_program_keeps_traces_and_a_program_that_imports_it_does_not(tiny_flags, tmp_path):
    """The library and two starts of the program, in processes of their own, with their own cache."""
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla")}
    kept = tmp_path / "xla" / "pix2pix_jax"

    def start(*command, workdir):
        flags = ["train", "--config=default", *tiny_flags, "--config.num_steps=1", f"--workdir={tmp_path / workdir}"]
        subprocess.run([sys.executable, *command, *flags], env=environment, check=True, capture_output=True)
        return (tmp_path / workdir / "metrics.jsonl").read_text().count("g_l1")

    assert start("-c", "import sys; from pix2pix_jax import cli; cli.main(sys.argv[1:])", workdir="library") == 1
    assert not kept.exists()
    assert start("-m", "pix2pix_jax", workdir="first") == 1
    (file,) = kept.iterdir()
    written = file.stat().st_mtime_ns
    assert start("-m", "pix2pix_jax", workdir="second") == 1
    assert [path.stat().st_mtime_ns for path in kept.iterdir()] == [written]
