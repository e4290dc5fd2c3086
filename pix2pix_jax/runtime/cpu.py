"""Settings of a process that computes on CPUs: what XLA fuses there, and what glibc does with freed memory."""

import ctypes
import glob
import os
import sys

_ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/accel[0-9]*", "/dev/vfio/[0-9]*", "/dev/kfd")
_EXTRA_OPTIONS = "--xla_backend_extra_options"

# Parameters of glibc's mallopt, from its malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def fuse_outputs() -> bool:
    """Lets XLA's CPU backend compute several arrays in one pass over memory, which it does not by itself.

    Adam takes one pass, and there are fewer kernels to compile: a step takes a seventh less time, and its compilation
    half (benchmarks/README.md). Rounding is another, so a run that goes on without it does not end in the same bits.
    The package calls it when it is imported, as XLA reads its flags once: it has no effect on a process that has used
    JAX before.

    Returns whether the flag was set: not beside an accelerator, nor where XLA_FLAGS has extra options already. XLA
    takes the name of this one for a yes, whatever its value; any other, as `xla_cpu_nothing=1`, keeps it off.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _EXTRA_OPTIONS in flags or not _computes_on_cpus():
        return False
    os.environ["XLA_FLAGS"] = f"{flags} {_EXTRA_OPTIONS}=xla_cpu_use_multi_output_fusion=true".lstrip()
    return True


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory for the next request instead of returning it to the kernel.

    XLA's CPU backend asks for all of a step's buffers anew at every step, and the kernel clears them page by page: a
    seventh to a fifth of the step's time (benchmarks/README.md). Call it before JAX starts its threads: it does not
    change the arenas of existing threads. The process then keeps the most memory that it has needed at once. Returns
    whether glibc was told; it is not beside an accelerator, whose steps do not use the host's memory.
    """
    if not _computes_on_cpus():
        return False
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return False
    # One arena for all threads: the arenas of single threads return memory whatever the threshold.
    return all([libc.mallopt(_ARENA_MAX, 1), libc.mallopt(_MMAP_MAX, 0), libc.mallopt(_TRIM_THRESHOLD, -1)])


def _computes_on_cpus() -> bool:
    """Tells whether JAX will compute on CPUs: it was told to, or there is nothing else."""
    accelerators = (path for pattern in _ACCELERATORS for path in glob.glob(pattern))
    return os.environ.get("JAX_PLATFORMS", "") == "cpu" or not any(accelerators)
