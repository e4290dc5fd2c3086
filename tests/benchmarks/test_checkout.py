"""The benchmarks without packages that a machine may lack: real programs in which those cannot be imported."""

import json
import pathlib
import subprocess
import sys

import pytest
from conftest import TINY

from pix2pix_jax import config as config_lib

ROOT = pathlib.Path(__file__).resolve().parents[2]
HIDDEN = (
    *("ml_collections", "clu", "tensorboard", "google_crc32c"),
    *("grain", "tensorflow_datasets", "tifffile", "imagecodecs", "dm_pix"),
)
# Finds none of them but in the folder of stand-ins, and the package in the checkout alone, wherever it is installed.
PROGRAM = f"""
import importlib.machinery, runpy, sys

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if path is None and name in {HIDDEN!r}:
            path = [place for place in sys.path if place.endswith("standins")]
        if path is None and name == "pix2pix_jax":
            path = [{str(ROOT)!r}] if {str(ROOT)!r} in sys.path else []
        if path == []:
            return None
        return super().find_spec(name, path, target)

kept = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") in ("BuiltinImporter", "FrozenImporter")]
sys.meta_path[:] = [*kept, Finder]
sys.path[:] = [place for place in sys.path if place and place != {str(ROOT)!r}]
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
"""


def run(code: str, *flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", PROGRAM + code, *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT.parent)


def test_configs_are_those_of_the_real_package():
    overrides = [
        *TINY,
        "--config.preset=torch2017",
        "--config.generator.num_downs=5",
        "--config.l1_weight=10",
        "--config.mirror=False",
    ]
    overrides += ["--config.a_folders=x,y", "--config.input_range=0,5", "--config.mesh.rows=1", "--config.data_dir=7"]
    code = """
from checkout import helped
from pix2pix_jax import config as c
config = c.load("facades", sys.argv[1:])
assert helped and c.ConfigDict.__module__ == "ml_collections.config_dict" and hasattr(c.ConfigDict, "_set_locked")
assert c.to_dict(c.from_dict(c.to_dict(config))) == c.to_dict(config)
with_names = c.names()
print(json.dumps([c.to_dict(config), with_names]))
"""
    answer = run("import json\n" + code, *overrides)
    found, names = json.loads(answer.stdout)
    assert found == config_lib.to_dict(config_lib.load("facades", overrides))
    assert names == config_lib.names()
    (said,) = answer.stderr.splitlines()
    assert said.startswith("missing: ml_collections (configs by a stand-in")


def test_mistakes_are_user_errors_too():
    overrides = ["--config.batchsize=2", "--config.batch_size", "--config.generator.what=2", "--config.batch_size=x"]
    code = """
import checkout
from pix2pix_jax import cli
for override in sys.argv[1:]:
    assert cli.main(["train", "--config=facades", "--workdir=w", override]) == 2
"""
    answer = run(code, *overrides)
    assert answer.returncode == 0, answer.stderr
    for line, override in zip(answer.stderr.splitlines()[1:], overrides, strict=True):
        assert line.startswith("pix2pix train: error: ") and override.strip("-").split("=")[0] in line


@pytest.mark.heavy
def test_a_run_of_the_loop(tmp_path):
    """Bare step, training with samples, a checkpoint and an evaluation, on pairs that are drawn."""
    flags = [f for f in TINY if not any(name in f for name in ("num_steps", "every_steps", "direction"))]
    code = "sys.argv[0] = 'loop.py'\nrunpy.run_path(sys.path[0] + '/loop.py', run_name='__main__')"
    answer = run(code, "--steps=8", "--pairs=8", "--rounds=1", "--seconds=0.1", *flags)
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout.splitlines()[-1])
    assert found["benchmark"] == "loop" and found["steps"] == 8
    assert found["systems"]["bare"]["ms"] > 0 and found["systems"]["pix2pix_jax"]["whole_s"] > 0
    assert found["events_ms"]["checkpoint"] > 0
