"""What a type checker of a user's knows of the package; `make types` checks the program in tests/typing with it."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

import pix2pix_jax

ROOT = pathlib.Path(__file__).parents[1]


def pyright(folder, *arguments) -> dict:
    """Runs pyright in `folder`, as if the package were installed where it is, and returns what it found."""
    bin_folder = pathlib.Path(sys.executable).parent
    if not (bin_folder / "pyright").exists():
        absent = pytest.fail if "CI" in os.environ else pytest.skip
        absent("needs pyright, which make types installs")
    environment = {"PYTHONPATH": str(ROOT), "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    command = [bin_folder / "pyright", "--outputjson", *arguments]
    found = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    return json.loads(found.stdout)


@pytest.mark.heavy
def test_the_types_of_all_public_names_are_known(tmp_path):
    found = pyright(tmp_path, "--verifytypes", "pix2pix_jax", "--ignoreexternal")["typeCompleteness"]
    assert pathlib.Path(found["pyTypedPath"]).samefile(ROOT / "pix2pix_jax" / "py.typed")
    symbols = {name: symbol for symbol in found["symbols"] for name in _names(symbol)}
    for name in pix2pix_jax.__all__:
        symbol = symbols[f"pix2pix_jax.{name}"]
        assert symbol["isTypeKnown"] and not symbol["isTypeAmbiguous"], symbol
        of_class = [s for s in found["symbols"] if s["name"].startswith(f"{symbol['name']}.") and s["isExported"]]
        unknown = [s for s in of_class if not s["isTypeKnown"]]
        assert not unknown


def _names(symbol) -> list[str]:
    return [symbol["name"], *symbol.get("alternateNames", [])]


@pytest.mark.heavy
def test_mistakes_of_a_user_are_found(tmp_path):
    lines = (
        "import pix2pix_jax",
        'model = pix2pix_jax.load("runs/facades")',
        "model.translate(1)",
        'model.translate("a.png").save("b.png")',
        "model.translat",
        "pix2pix_jax.UNetGenerator(featurs=8)",
        'pix2pix_jax.make_adam(schedule="constant")',
    )
    (tmp_path / "program.py").write_text("\n".join(lines) + "\n")
    found = pyright(tmp_path, "program.py")["generalDiagnostics"]
    assert {d["range"]["start"]["line"] for d in found if d["severity"] == "error"} == {2, 3, 4, 5, 6}, found


def test_the_users_program_uses_all_public_names():
    program = (ROOT / "tests" / "typing" / "snippet.py").read_text()
    assert [name for name in pix2pix_jax.__all__ if f"pix2pix_jax.{name}" not in program] == []
