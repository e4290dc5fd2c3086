"""Keeps the memory of a CPU's training step in the process from step to step."""

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
    seventh to a fifth of the step's time (benchmarks/README.md). Call it before JAX starts its threads: it does not
    change the arenas of existing threads. The process then keeps the most memory that it has needed at once. Returns
    whether glibc was told; it is not beside an accelerator, whose steps do not use the host's memory.
    """
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms != "cpu" and any(glob.glob(pattern) for pattern in _ACCELERATORS):
        return False
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return False
    # One arena for all threads: the arenas of single threads return memory whatever the threshold.
    return all([libc.mallopt(_ARENA_MAX, 1), libc.mallopt(_MMAP_MAX, 0), libc.mallopt(_TRIM_THRESHOLD, -1)])
