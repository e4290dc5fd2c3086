"""docs/export.md: its programs run, and it names every format and flag."""

import pathlib
import re
import runpy

import numpy as np

from pix2pix_jax.export import formats, notes, onnx_file, stablehlo_file
from pix2pix_jax.inference import model_file

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "export.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_its_programs_run(random_model, tmp_path, monkeypatch):
    """With the files that its first command makes, of a model for 256 px."""
    monkeypatch.chdir(tmp_path)
    deep = ("--config.image_size=256,256", "--config.generator.num_downs=8", "--config.generator.features=1")
    model = random_model(*deep)
    files = {
        "facades.onnx": onnx_file.serialise(model),
        "facades.stablehlo": stablehlo_file.serialise(model),
        "facades.safetensors": model_file.dump(model.variables, notes.of_model(model)),
    }
    for name, content in files.items():
        pathlib.Path(name).write_bytes(content)
    for i, program in enumerate(PROGRAMS):
        pathlib.Path(f"{i}.py").write_text(program)
    by_onnx, by_jax, by_us = (runpy.run_path(f"{i}.py") for i in range(len(PROGRAMS)))
    np.testing.assert_allclose(by_onnx["translation"].transpose(0, 2, 3, 1), by_jax["translation"], atol=1e-4)
    assert repr(by_us["model"]) == repr(model)


def test_the_loader_of_stablehlo_needs_jax_alone_and_is_short():
    loader = PROGRAMS[1]
    assert set(re.findall(r"^(?:import|from) (\w+)", loader, re.MULTILINE)) == {"jax"}
    assert len(loader.splitlines()) <= 10


def test_its_table_has_every_format_with_its_flags():
    rows = {cells[1].strip(" `"): cells[4] for line in PAGE.splitlines() if len(cells := line.split("|")) == 6}
    rows = {ending: sorted(re.findall(r"`--(\w+)`", flags)) for ending, flags in rows.items() if ending[:1] == "."}
    assert rows == {ending: sorted(format.flags) for ending, format in formats.FORMATS.items()}
