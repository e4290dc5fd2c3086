"""What tests/golden/make_metrics.py computed apart from us, and the cases it did so for."""

import pathlib
import runpy
import sys
import types

import numpy as np

FOLDER = pathlib.Path(__file__).parents[1] / "golden"


def _load(name: str) -> types.SimpleNamespace:
    sys.path.insert(0, str(FOLDER))  # the programs there import each other
    try:
        return types.SimpleNamespace(**runpy.run_path(str(FOLDER / f"{name}.py")))
    finally:
        sys.path.remove(str(FOLDER))


cases = _load("metric_cases")
real_pictures = _load("real_pictures")
ANSWERS = dict(np.load(FOLDER / "metrics.npz"))

_KINDS = {"kernel": "conv.weight", "scale": "bn.weight", "bias": "bn.bias", "mean": "bn.running_mean"}
_KINDS["var"] = "bn.running_var"


def drawn_inception() -> dict[str, np.ndarray]:
    """The weights of the golden Inception, by pytorch-fid's names."""
    weights = {}
    for entry in ANSWERS["inception/parameters"]:
        name, shape = _entry(entry)
        layer, _, kind = name.rpartition("/")
        values = cases.draw_weight(name, shape)
        values = values.transpose(3, 2, 0, 1) if kind == "kernel" else values
        layer = layer.replace("/conv", "").replace("/bn", "").replace("/", ".")
        weights[f"{layer}.{_KINDS[kind]}"] = values.astype(np.float32)
    return weights


def drawn_lpips() -> dict[str, np.ndarray]:
    """The weights of the golden LPIPS, by the names of `lpips.shapes`."""
    weights = {}
    for entry in ANSWERS["lpips/parameters"]:
        name, shape = _entry(entry)
        _, layer, kind = name.split("/")
        ours = f"{layer}.weight" if layer.startswith("lin") else f"{layer}.{kind}"
        weights[ours] = cases.draw_weight(name, shape).astype(np.float32)
    return weights


def _entry(text: str) -> tuple[str, tuple[int, ...]]:
    name, shape = str(text).split()
    return name, tuple(map(int, shape.split("x")))
