"""What an installation has: the extras, what runs without them, and the wheel."""

import os
import pathlib
import subprocess
import sys
import zipfile
from importlib import metadata

import jax
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parents[1]
# Runs the command line as if the libraries of the extra `train` were not installed.
_WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in environment._OF_TRAINING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
from pix2pix_jax import cli
from pix2pix_jax.runtime import environment
sys.meta_path.insert(0, Absent())
sys.exit(cli.main(sys.argv[1:]))
"""


def without_training(*arguments):
    done = subprocess.run([sys.executable, "-c", _WITHOUT, *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.heavy
def test_a_trained_model_needs_no_library_of_training(trained, tmp_path):
    picture = next((trained / "samples").glob("*.png"))
    code, out, errors = without_training(
        "translate", f"--workdir={trained}", f"--input={picture}", f"--output={tmp_path / 'out'}"
    )
    assert code == 0 and "1 pictures" in out, errors


@pytest.mark.heavy
def test_training_without_its_libraries_is_one_line(tmp_path):
    code, _, errors = without_training("train", "--config=drawn_facades", f"--workdir={tmp_path / 'run'}")
    assert code == 2 and "pip install '.[train]'" in errors and len(errors.splitlines()) == 1, errors
    code, _, errors = without_training("compare", tmp_path)
    assert code == 2 and "needs matplotlib" in errors and len(errors.splitlines()) == 1, errors


def modules_beyond(extra: str) -> list[str]:
    """The importable names of all installed libraries that `pip install '.[extra]'` would not bring."""
    wanted, seen = [("pix2pix_jax", extra)], set()
    while wanted:
        name, extra = wanted.pop()
        if (canonicalize_name(name), extra) in seen:
            continue
        seen.add((canonicalize_name(name), extra))
        for requirement in map(Requirement, metadata.requires(name) or ()):
            if not requirement.marker or requirement.marker.evaluate({"extra": extra}):
                wanted += [(requirement.name, inner) for inner in {"", *requirement.extras}]
    brought = {name for name, _ in seen}
    return [
        module
        for module, distributions in metadata.packages_distributions().items()
        if not brought & {canonicalize_name(name) for name in distributions}
    ]


# Runs the program as if only what an installation brings were there.
_WITH = """
import sys
absent = set(sys.argv.pop(1).split(","))
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
for name in absent & set(sys.modules):
    del sys.modules[name]
sys.meta_path.insert(0, Absent())
from pix2pix_jax import cli
cli.run()
"""


def with_extra(extra, *arguments, **environment):
    command = [sys.executable, "-c", _WITH, ",".join(modules_beyond(extra)), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr


@pytest.mark.heavy
def test_the_extra_train_brings_what_training_needs(tiny_flags, tmp_path):
    flags = ("--config=default", *tiny_flags, f"--workdir={tmp_path / 'run'}")
    with_extra("train", "train", *flags, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "xla"))
    assert list((tmp_path / "xla" / "pix2pix_jax").glob("*.stablehlo"))  # it kept its trace too
    with_extra("train", "evaluate", f"--workdir={tmp_path / 'run'}")


@pytest.mark.heavy
def test_an_installation_without_extras_brings_what_trained_models_need(trained, tmp_path):
    picture = next((trained / "samples").glob("*.png"))
    for name in ("model.stablehlo", "model.safetensors"):
        with_extra("", "export", f"--workdir={trained}", f"--output={tmp_path / name}")
    for workdir in (trained, tmp_path / "model.safetensors"):
        with_extra("", "translate", f"--workdir={workdir}", f"--input={picture}", f"--output={tmp_path / 'out'}")


@pytest.mark.heavy
def test_the_wheel_works_outside_the_checkout(trained, tmp_path):
    """It holds every module, config and file of data, and runs where no checkout is."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = tmp_path / "source"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    for name in filter(None, tracked):
        if name.startswith(("pix2pix_jax/", "configs/")) or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([*pip, "wheel", "--no-deps", f"--wheel-dir={tmp_path}", source], cwd=tmp_path, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    expected = {name.replace("configs/", "pix2pix_jax/configs/", 1) if name.startswith("configs/") else name
                for name in tracked if name.startswith(("pix2pix_jax/", "configs/"))}  # fmt: skip
    assert expected <= held, sorted(expected - held)
    subprocess.run([*pip, "install", "--no-deps", f"--target={tmp_path / 'site'}", wheel], cwd=tmp_path, check=True)
    # Without the .pth files of site-packages (-S), by which an editable installation would find the checkout.
    libraries = pathlib.Path(jax.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{libraries}"}

    def python(*arguments):
        command = [sys.executable, "-S", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    for arguments in (["--version"], ["configs"], ["configs", "facades"]):
        python("-m", "pix2pix_jax", *arguments)
    places = "import pix2pix_jax, pix2pix_jax.configs.default as d; print(pix2pix_jax.__file__, d.__file__)"
    assert all(path.startswith(str(tmp_path / "site")) for path in python("-c", places).split())
    output = f"--output={tmp_path / 'out'}"
    picture = next((trained / "samples").glob("*.png"))
    python("-m", "pix2pix_jax", "translate", f"--workdir={trained}", f"--input={picture}", output)
