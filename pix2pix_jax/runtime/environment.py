"""Sets up the process for `pix2pix`, and checks what surrounds it: locale, temporary files, launcher, libraries."""

import gc
import logging
import os
import sys
import tempfile
import warnings

from pix2pix_jax.errors import UserError
from pix2pix_jax.runtime import caches

# Modules of the extra `train`, without which trained models can be used all the same.
_OF_TRAINING = frozenset(
    (
        "array_record",
        "clu",
        "dm_pix",
        "grain",
        "importlib_resources",
        "matplotlib",
        "tensorboard",
        "tensorflow_datasets",
    )
)


def use_utf8() -> None:
    """Starts the program again if the locale is not UTF-8: the libraries take no path that Python cannot encode."""
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"  # also for the processes that read data
        os.execv(sys.executable, sys.orig_argv)
    if sys.stdout:
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does; names of files may be any bytes


def collect_rarely() -> None:
    """Has Python look for garbage a hundredth as often: it finds none while libraries are imported, or JAX traces."""
    gc.set_threshold(100_000)


def check_temporary() -> None:
    """Raises UserError if matplotlib, TFDS and worker processes would find no temporary folder, maybe after hours."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise UserError("TMPDIR: no folder for temporary files can be written; set it to one that can") from error


def check_single_task() -> None:
    """Raises UserError if `srun` or another launcher has started several tasks, which only `train` can share."""
    from_slurm = os.environ.get("SLURM_STEP_NUM_TASKS", "")
    by_hand = os.environ.get("JAX_NUM_PROCESSES", "") if "JAX_PROCESS_ID" in os.environ else ""
    count = max(int(number) if number.isdigit() else 1 for number in (from_slurm, by_hand))
    if count > 1:
        raise UserError(
            f"{count} tasks were started (SLURM_STEP_NUM_TASKS, JAX_NUM_PROCESSES), and each would do the whole work; "
            "start one (srun --ntasks=1)"
        )


def explain_missing(error: ModuleNotFoundError) -> UserError | None:
    """Returns what to say where a library of an extra is not installed; None where it is another module that lacks."""
    module = (error.name or "").partition(".")[0]
    if module not in _OF_TRAINING:
        return None
    return UserError(f"needs {module}, which an installation for trained models lacks; pip install '.[train]'")


def set_up_libraries() -> None:
    """Silences libraries' messages that do not help a user, and keeps compiled programs on disk."""
    import absl.logging
    from PIL import Image

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `high_bit_depth.check_size` has our own limits
    # Orbax warns of its own defaults, and its threads print what it raises all the same: a full disk would take pages.
    absl.logging.set_verbosity(absl.logging.FATAL)
    for name in ("asyncio", "gcsfs", "matplotlib"):  # matplotlib warns if the user has no home
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = _report_unraisable
    caches.keep_compiled_programs()


def _report_unraisable(unraisable) -> None:
    # After a failed save, tensorstore reports each array to an event loop that Orbax has closed. After a failed restore
    # of one array, it reports all the others. Either would fill pages.
    if not str(unraisable.exc_value).startswith(("Event loop is closed", "Encountered error while reading array")):
        sys.__unraisablehook__(unraisable)
