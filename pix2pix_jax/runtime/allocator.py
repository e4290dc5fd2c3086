"""Memory that a CPU's training step gives back and takes again, kept by the process in between."""

import ctypes
import glob
import os
import sys

_ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/accel[0-9]*", "/dev/vfio/[0-9]*", "/dev/kfd")

# Parameters of glibc's mallopt, from its malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory for the next request instead of returning it to the kernel.

    XLA's CPU backend asks for all of a step's buffers anew at every step, and the kernel clears them page by page: a
    seventh to a fifth of the step's time (benchmarks/README.md). To be called before JAX starts its threads, as what
    each already has of its own is not changed. The process then holds as much as it ever needed at once.

    Returns:
      Whether it was done: not beside an accelerator, whose steps do not use the host's memory, nor without glibc.
    """
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms != "cpu" and any(glob.glob(pattern) for pattern in _ACCELERATORS):
        return False
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return False
    # One arena for all threads: those of threads are cut into pieces that are given back whatever the threshold.
    return all([libc.mallopt(_ARENA_MAX, 1), libc.mallopt(_MMAP_MAX, 0), libc.mallopt(_TRIM_THRESHOLD, -1)])
