"""The table of the formats that `pix2pix export` writes, by the ending of the file's name."""

import dataclasses
import importlib.util
import os
from collections.abc import Callable
from typing import Any

from pix2pix_jax.config import build_data
from pix2pix_jax.errors import UserError
from pix2pix_jax.inference import trained_model
from pix2pix_jax.interop import transfer
from pix2pix_jax.io import storage


def _pth(workdir: str, output: str, **options: Any) -> str:
    transfer.export_torch(workdir, output, **options)
    return "for pytorch-CycleGAN-and-pix2pix"


def _onnx(workdir: str, output: str, *, dropout: str = "off", values: str = "float", **options: Any) -> str:
    if importlib.util.find_spec("onnx") is None:
        raise UserError(f"--output={output}: needs onnx; pip install onnx, or '.[onnx]'")
    from pix2pix_jax.export import onnx_file

    precision = options.pop("precision", "float32")
    wanted = onnx_file.OnnxOptions(values=values, precision=precision, dropout=dropout == "on")
    model = trained_model.load(workdir, dropout=dropout, **options)
    _write(output, onnx_file.serialise(model, wanted))
    return f"takes images whose sides are multiples of {build_data.size_multiple(model.config)}"


def _stablehlo(workdir: str, output: str, *, dropout: str = "off", size: str = "any", **options: Any) -> str:
    from pix2pix_jax.export import stablehlo_file

    model = trained_model.load(workdir, dropout=dropout, **options)
    sides = stablehlo_file.parse_size(size, model)
    _write(output, stablehlo_file.serialise(model, sides))
    return stablehlo_file.describe(sides, model)


def _safetensors(workdir: str, output: str, **options: Any) -> str:
    from pix2pix_jax.export import notes
    from pix2pix_jax.inference import model_file

    model = trained_model.load(workdir, **options)
    _write(output, model_file.dump(model.variables, notes.of_model(model)))
    return "is a --workdir of translate and export, and a file of pix2pix_jax.load"


@dataclasses.dataclass(frozen=True)
class Format:
    """Describes a format.

    Attributes:
      write: f(workdir, output, *, step, **flags) writes a file, and returns a remark on it.
      flags: the flags that it knows besides `step`.
    """

    write: Callable[..., str]
    flags: tuple[str, ...]


_RULES = ("norm_stats", "dropout", "weights")
FORMATS = {
    ".pth": Format(_pth, ("network", "weights")),
    ".onnx": Format(_onnx, (*_RULES, "values", "precision")),
    ".stablehlo": Format(_stablehlo, (*_RULES, "size")),
    ".safetensors": Format(_safetensors, _RULES),
}


def export(workdir: str, output: str, *, step: str | int = "latest", **flags: str) -> str:
    """Writes a trained network for another program.

    Args:
      workdir: the workdir of a training run.
      output: path of the file, whose ending says the format: one of FORMATS.
      step: the checkpoint's step, "latest" or "best".
      **flags: those of the format that are to differ from its defaults; see docs/export.md.

    Returns:
      A remark on the file, for people.

    Raises:
      UserError: there is no such format or checkpoint, the format lacks one of the flags or cannot express the model,
        a library is missing, or the file cannot be written.
    """
    ending = os.path.splitext(output)[1].lower()
    if ending not in FORMATS:
        raise UserError(f"--output={output}: unknown format; give a name that ends in {', '.join(FORMATS)}")
    for flag in flags:
        if flag not in FORMATS[ending].flags:
            having = ", ".join(name for name, format in FORMATS.items() if flag in format.flags)
            raise UserError(f"--{flag}: has no effect on {ending} files; it goes with {having} only")
    return FORMATS[ending].write(workdir, output, step=step, **flags)


def _write(output: str, content: bytes) -> None:
    try:
        storage.write(storage.folder(output), content)
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror}); choose another --output") from error
