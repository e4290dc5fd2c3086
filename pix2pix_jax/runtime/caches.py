"""Places files that the program can make or fetch again, shared by all runs of a user."""

import contextlib
import os
import pathlib

_keeps_traces = False


def folder(kind: str) -> pathlib.Path:
    """Returns `$XDG_CACHE_HOME/pix2pix_jax/KIND`, by default below `~/.cache`. It need not exist."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(home) / "pix2pix_jax" / kind


def keep_compiled_programs() -> None:
    """Makes JAX keep the programs that it compiles from now on in `folder("xla")`, for other processes.

    Does nothing where JAX has been told another place, by `JAX_COMPILATION_CACHE_DIR` or `jax.config`, or to keep none,
    or where the folder cannot be written.
    """
    import jax

    told = "JAX_COMPILATION_CACHE_DIR" in os.environ or jax.config.jax_compilation_cache_dir is not None
    if told or not jax.config.jax_enable_compilation_cache:
        return
    with contextlib.suppress(OSError):
        folder("xla").mkdir(parents=True, exist_ok=True)
        if os.access(folder("xla"), os.W_OK):  # else JAX would warn at each program
            jax.config.update("jax_compilation_cache_dir", str(folder("xla")))


def keep_traces() -> None:
    """Keeps traced programs too, from now on. For a process that runs nothing but this package's own code."""
    global _keeps_traces
    _keeps_traces = True


def folder_of_traces() -> pathlib.Path | None:
    """Returns the folder of traced programs, beside JAX's compiled ones; None where either are not kept, or on gs://."""
    import jax

    compiled = jax.config.jax_compilation_cache_dir
    if not _keeps_traces or not compiled or "://" in compiled or not jax.config.jax_enable_compilation_cache:
        return None
    return pathlib.Path(compiled) / "pix2pix_jax"
