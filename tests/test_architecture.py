"""The order of the folders: a module imports from its own folder and from those below it in docs/architecture.md."""

import ast
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "pix2pix_jax"
FOLDERS = (
    *("errors", "runtime", "io", "models", "data", "gan", "metrics", "configuration"),
    *("workdir", "inference", "interop", "export", "evaluation", "training", "demo"),
)
ORDER = {name: place for place, name in enumerate((*FOLDERS, "api", "__init__", "flags", "cli", "__main__"))}
FILES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}


def imports(module: str) -> set[str]:
    """Returns the modules of the package whose names a module imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            found |= {name if known(name := f"{base}.{alias.name}") else base for alias in node.names}
    return {file for name in found if (file := known(name)) and file != module}


def known(name: str) -> str | None:
    """Returns the key in FILES of a module or package, None for those of others."""
    return next((file for file in (name, f"{name}.__init__") if file in FILES), None)


def place(module: str) -> int:
    return ORDER[module.split(".")[1]]  # KeyError: say above, and in docs/architecture.md, where a new folder stands


@pytest.mark.parametrize("module", sorted(FILES))
def test_a_module_imports_nothing_from_above_its_folder(module):
    wrong = sorted(other for other in imports(module) if place(other) > place(module))
    assert not wrong, f"{module} imports {wrong}; a folder imports from those before it in {', '.join(FOLDERS)}"


def test_no_modules_import_each_other_in_a_circle():
    tuple(graphlib.TopologicalSorter({module: imports(module) for module in FILES}).static_order())


def test_the_root_has_at_most_six_modules():
    assert len(list(PACKAGE.glob("*.py"))) <= 6


def test_the_page_on_the_architecture_shows_the_same_order():
    page = (ROOT / "docs" / "architecture.md").read_text()
    places = [page.index(f"\n{folder} ") for folder in FOLDERS]
    assert places == sorted(places, reverse=True)  # what others stand on is at the bottom
