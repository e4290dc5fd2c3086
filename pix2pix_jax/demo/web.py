"""Writes the page for a static host: the model runs in the visitor's browser, by ONNX Runtime's WebAssembly."""

import base64
import hashlib
import importlib.util
import pathlib
import shutil
import subprocess
import tarfile
import tempfile

from etils import epath

from pix2pix_jax.demo import brushes, examples, site
from pix2pix_jax.demo.translation import check_channels
from pix2pix_jax.errors import UserError
from pix2pix_jax.inference.trained_model import TrainedModel
from pix2pix_jax.io import storage

ORT = "onnxruntime-web@1.30.0"
ORT_FILE = "onnxruntime-web-1.30.0.tgz"  # as npm names it
ORT_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # as npm does
_PATIENCE = 600  # seconds for npm
# Backend -> role -> file of the package. Hosts that do not know .mjs would send it as no script: it is renamed.
_ORT_FILES = {
    "wasm": {
        "ort.js": "ort.wasm.min.mjs",
        "ort-wasm.js": "ort-wasm-simd-threaded.mjs",
        "ort-wasm.wasm": "ort-wasm-simd-threaded.wasm",
    },
    "webgpu": {
        "ort.js": "ort.webgpu.min.mjs",
        "ort-wasm.js": "ort-wasm-simd-threaded.asyncify.mjs",
        "ort-wasm.wasm": "ort-wasm-simd-threaded.asyncify.wasm",
    },
}


def write(
    model: TrainedModel,
    workdir: epath.PathLike,
    output: epath.PathLike,
    *,
    palette: str = "auto",
    ort: str = "",
    webgpu: bool = False,
    precision: str = "float32",
) -> int:
    """Writes a folder that any static host serves, and that loads nothing from elsewhere.

    Args:
      model: the trained model; its dropout is off in the page.
      workdir: the workdir of its run, for examples (`examples.find`).
      output: the folder, made if need be. Files of the same names are replaced, others left.
      palette: of label maps, see `brushes.choose`.
      ort: path of the package ORT_FILE; "": npm fetches it.
      webgpu: whether to compute by WebGPU where the browser has it.
      precision: of the parameters, as in `onnx_file.OnnxOptions`.

    Returns:
      The number of bytes written.

    Raises:
      UserError: onnx is not installed, npm is missing or cannot fetch the package, it is another one than ours, the
        model cannot be expressed or drawn for, or the folder cannot be written.
    """
    if importlib.util.find_spec("onnx") is None:
        raise UserError(f"--web={output}: needs onnx; pip install onnx, or '.[onnx]'")
    from pix2pix_jax.export import onnx_file

    check_channels(model.config)
    backend = "webgpu" if webgpu else "wasm"
    pictures = examples.find(model.config, workdir)
    settings = site.settings(
        model.config,
        brushes.choose(model.config, pictures, palette),
        title=site.title(workdir, model.config),
        num_examples=len(pictures),
        has_dropout=False,
        runs_in={"place": "browser", "model": "model.onnx", "backend": backend},
    )
    files = site.files(settings, pictures)
    files["model.onnx"] = onnx_file.serialise(model, onnx_file.OnnxOptions(values="float", precision=precision))
    files |= runtime(_package(ort), backend)
    return _write(storage.folder(output), files)


def runtime(package: bytes, backend: str) -> dict[str, bytes]:
    """Returns the files of ONNX Runtime, path -> content. Raises UserError if this is not the package that we know."""
    if base64.b64encode(hashlib.sha512(package).digest()).decode() != ORT_SHA512:
        raise UserError(f"--ort: not the package {ORT_FILE}, by its checksum; fetch it by `npm pack {ORT}`")
    with tempfile.TemporaryFile() as file:
        file.write(package)
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            return {
                f"ort/{name}": archive.extractfile(f"package/dist/{member}").read()
                for name, member in _ORT_FILES[backend].items()
            }


def _package(path: str) -> bytes:
    """Reads the package from a file, or has npm fetch it."""
    if not path:
        return fetch()
    try:
        return pathlib.Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"--ort={path}: cannot be read ({error.strerror})") from error


def fetch() -> bytes:
    """Fetches the package by npm. Raises UserError if npm is missing or fails."""
    instead = f"or give the file of `npm pack {ORT}`, run elsewhere, as --ort={ORT_FILE}"
    if (npm := shutil.which("npm")) is None:
        raise UserError(f"--web: npm, which fetches {ORT}, is not installed; install it, {instead}")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", ORT, "--ignore-scripts", "--loglevel=error"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_PATIENCE)
            return (pathlib.Path(folder) / ORT_FILE).read_bytes()
        except subprocess.CalledProcessError as error:
            reason = " ".join(error.stderr.split())[:200]
        except (subprocess.TimeoutExpired, OSError) as error:
            reason = str(error)
    raise UserError(f"--web: npm could not fetch {ORT} ({reason}); try again, {instead}")


def _write(folder: epath.Path, files: dict[str, bytes]) -> int:
    try:
        for name, content in files.items():
            storage.make_folder((folder / name).parent)
            storage.write(folder / name, content)
    except OSError as error:
        raise UserError(f"--web={folder}: cannot be written ({error.strerror}); choose another folder") from error
    return sum(map(len, files.values()))
