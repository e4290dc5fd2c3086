"""Keeps the traced train step beside JAX's compiled programs, so that the next start of a run need not trace.

To trace a step takes Python seconds, half of a start whose programs are compiled. What it gives follows from the code
of this package and of the libraries, the config, the shapes of state and batch, and JAX's settings. All of these are in
the file's name, so after a change of any the step is traced again. What the file holds is StableHLO, and no pickle.

Only the program `pix2pix` keeps traces (`caches.keep_traces`): one that imports this package may have put functions of
its own in the place of ours, which no name can tell. Nor is a step kept that has a trained network, whose weights would
be part of the file, or several devices, or an accelerator, where tracing is a small part of a start.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import sys
from typing import Any

import jax
from jax import export

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.errors import UserError
from pix2pix_jax.gan.state import TrainState
from pix2pix_jax.io import storage
from pix2pix_jax.runtime import caches
from pix2pix_jax.training.run import Run

_PACKAGE = pathlib.Path(__file__).parents[1]
_DIGEST = hashlib.sha256


def place(run: Run, state: TrainState, batch: Any) -> pathlib.Path | None:
    """Returns the file of the trace of a run's step, for such a state and batch; None where none is kept."""
    folder, config = caches.folder_of_traces(), run.config
    if not folder:
        return None
    if run.platform != "cpu" or run.mesh.size > 1 or config.perceptual_weight or config.discriminator.vision_aided:
        return None
    facts = {
        "code": _code(),
        "libraries": _libraries(),
        "python": sys.version,
        "settings": {name: value for name, value in os.environ.items() if name.startswith("JAX_")},
        "config": config_lib.to_dict(config),
        "steps": (run.total, len(run.pairs)),
        "shapes": [str((path, x.shape, x.dtype)) for path, x in jax.tree.leaves_with_path((state, batch))],
    }
    if not facts["code"]:
        return None
    name = _DIGEST(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return folder / f"{name}.stablehlo"


def _code() -> str:
    """Returns a digest of this package's sources; "" where there are none, but for compiled ones."""
    digest, sources = _DIGEST(), sorted(_PACKAGE.rglob("*.py"))
    for source in sources:
        digest.update(repr((str(source.relative_to(_PACKAGE)), source.read_bytes())).encode())
    return digest.hexdigest() if sources else ""


def _libraries() -> list[str]:
    """Lists the installed distributions with their versions, as the names of their folders tell them."""
    folders = (path for path in sys.path if os.path.isdir(path))
    return sorted({path.name for folder in folders for path in pathlib.Path(folder).glob("*.dist-info")})


def through(file: pathlib.Path, step: Any, state: TrainState, batch: Any) -> Any:
    """Returns the function of a jitted train step, as `file` has it, or else traced now and kept there.

    Args:
      file: what `place` returned.
      step: f(state, batch) -> (state, metrics), as `jax.jit` returns it.
      state: the shapes, dtypes and shardings of the state.
      batch: those of a batch.

    Returns:
      f(state, batch) as before, to be given to `jax.jit`. It computes the same bits as `step`, and is `step` itself
      where no file can hold that.
    """
    structure = jax.tree.structure(state)
    try:
        exported = _read(file) or _trace(file, step, state, batch)
    except (ImportError, NotImplementedError, ValueError):  # what is wrong with the step itself comes again
        return step

    def call(state: TrainState, batch: Any) -> tuple[TrainState, Any]:
        leaves, metrics = exported.call(jax.tree.leaves(state), batch)
        return jax.tree.unflatten(structure, leaves), metrics

    return call


def _trace(file: pathlib.Path, step: Any, state: TrainState, batch: Any) -> export.Exported:
    structure = jax.tree.structure(state)

    def on_leaves(leaves: list[jax.Array], batch: Any) -> tuple[list[jax.Array], Any]:  # a file holds lists and dicts
        state, metrics = step(jax.tree.unflatten(structure, leaves), batch)
        return jax.tree.leaves(state), metrics

    exported = export.export(jax.jit(on_leaves, donate_argnums=0))(jax.tree.leaves(state), batch)
    content = bytes(exported.serialize())
    with contextlib.suppress(OSError, UserError):  # no room, or another user's folder: traced at every start
        file.parent.mkdir(parents=True, exist_ok=True)
        storage.write(storage.folder(file), _DIGEST(content).digest() + content)
    return exported


def _read(file: pathlib.Path) -> export.Exported | None:
    """Reads what `_trace` wrote; None if there is no file, or it is damaged."""
    try:
        whole = file.read_bytes()
    except OSError:
        return None
    size = _DIGEST().digest_size
    if _DIGEST(whole[size:]).digest() != whole[:size]:
        return None
    with contextlib.suppress(Exception):  # of whatever type: a library may have changed without its version
        return export.deserialize(bytearray(whole[size:]))
    return None
