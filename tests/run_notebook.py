"""Runs docs/pix2pix.ipynb as a reader would: `python tests/run_notebook.py` writes the outputs into it.

It takes minutes, and needs pip install '.[notebook-test]'.
"""

import os
import pathlib
import sys
import tempfile

import nbformat
from nbclient import NotebookClient

NOTEBOOK = pathlib.Path(__file__).parents[1] / "docs" / "pix2pix.ipynb"


def run(folder: pathlib.Path, parameters: str = "") -> nbformat.NotebookNode:
    """Executes the notebook in a folder and returns it with its outputs.

    Args:
      folder: the working directory of the cells.
      parameters: Python that runs after the cell tagged "parameters", to replace its values.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    chosen = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    as_written = chosen.source
    chosen.source += f"\n{parameters}"
    beside_python = os.pathsep.join((str(pathlib.Path(sys.executable).parent), os.environ["PATH"]))  # for !pix2pix
    client = NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(folder)}})
    client.execute(env=os.environ | {"PATH": beside_python})
    chosen.source = as_written
    return notebook


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Leaves out progress bars and libraries' warnings, which are on stderr, and joins what was printed in pieces."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        outputs = []
        for output in cell.get("outputs", ()):
            if output.get("name") == "stdout" and outputs and outputs[-1].get("name") == "stdout":
                outputs[-1].text += output.text
            elif output.get("name") != "stderr":
                outputs.append(output)
        if cell.cell_type == "code":
            cell.outputs = outputs
    notebook.metadata.language_info = {"name": "python"}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        executed = run(pathlib.Path(folder))
    tidy(executed)
    nbformat.write(executed, NOTEBOOK)
