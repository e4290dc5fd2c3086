"""docs/pix2pix.ipynb: what is committed can be opened and shown, and its cells run from top to bottom."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

NOTEBOOK = pathlib.Path(__file__).parents[1] / "docs" / "pix2pix.ipynb"
TINY = "SIZE, FEATURES, STEPS, DRAWN = 32, 8, 10, 20"


def code_cells():
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


def test_it_opens_in_colab():
    notebook = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["metadata"]["accelerator"]) == (4, "GPU")
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


def test_its_outputs_are_of_one_run_and_small():
    assert NOTEBOOK.stat().st_size < 1_000_000
    assert [cell["execution_count"] for cell in code_cells()] == list(range(1, len(code_cells()) + 1))
    pictures = [output for cell in code_cells() for output in cell["outputs"] if "image/png" in output.get("data", {})]
    assert len(pictures) >= 6


def test_its_outputs_have_no_errors_and_no_paths_of_a_machine():
    for cell in code_cells():
        for output in cell["outputs"]:
            assert output["output_type"] != "error" and output.get("name") != "stderr"
            text = "".join(output.get("text", output.get("data", {}).get("text/plain", "")))
            assert not re.search(r"/(root|home|work|tmp|usr|Users)/", text), text


@pytest.mark.heavy
def test_its_cells_run(tmp_path):
    try:
        import run_notebook
    except ImportError:
        (pytest.fail if "CI" in os.environ else pytest.skip)("needs nbclient: pip install '.[notebook-test]'")
    executed = run_notebook.run(tmp_path, TINY)
    assert (tmp_path / "mine.safetensors").is_file()
    assert {"000010.png", "000014.png"} <= {path.name for path in (tmp_path / "runs/mine/samples").iterdir()}
    run_notebook.tidy(executed)
    assert [cell.source for cell in executed.cells] == [
        "".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"]
    ]


@pytest.mark.heavy
@pytest.mark.parametrize(("driver", "extra"), [("550.54.15", "cuda12"), ("580.65.06", "cuda13"), (None, "train")])
def test_it_installs_what_the_machine_can_run(tmp_path, driver, extra):
    cell = "".join(code_cells()[0]["source"]).replace('find_spec("pix2pix_jax")', 'find_spec("no_such_package")')
    assert "%pip install" in cell
    (tmp_path / "cell.ipy").write_text(cell.replace("%pip", "!echo"))
    if driver:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho {driver}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    here = os.environ | {"PATH": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    command = [sys.executable, "-m", "IPython", tmp_path / "cell.ipy"]
    done = subprocess.run(command, env=here, capture_output=True, text=True, timeout=60)
    assert f"pix2pix_jax[{extra}] @ git+https://" in done.stdout, done
