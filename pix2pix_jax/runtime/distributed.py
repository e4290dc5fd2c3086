"""Connects and parts the processes of a run."""

import glob
import importlib.util
import os
import time
from concurrent import futures
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from pix2pix_jax.errors import UserError

HEARTBEAT_SECONDS = 60  # after so long without a sign of life of a process, JAX aborts the others
_PATIENCE = 3  # seconds


def initialize() -> None:
    """Connects this process to its peers if the environment names any; call it before any use of a device.

    Any launcher can say so by JAX_COORDINATOR_ADDRESS (HOST:PORT of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID.
    The tasks of a Slurm step and the hosts of a TPU slice are detected by JAX itself.

    Raises:
      UserError: the environment is incomplete, or the peers do not come.
    """
    by_hand = from_environment()
    if not (by_hand or _is_slurm_step() or _is_tpu_vm()):
        return
    options = {**by_hand, "heartbeat_timeout_seconds": HEARTBEAT_SECONDS}
    try:
        with futures.ThreadPoolExecutor(1) as thread:  # so that Ctrl-C reaches the main thread while it waits
            thread.submit(jax.distributed.initialize, **options).result()
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the processes of this run could not connect: {' '.join(str(error).split())}") from error


def from_environment() -> dict[str, Any]:
    """Returns the arguments of `jax.distributed.initialize`; {} if the environment sets none. Raises UserError."""
    address, count, index = (
        os.environ.get(f"JAX_{name}") for name in ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID")
    )
    if count is None and index is None and (address is None or _is_slurm_step() or _is_tpu_vm()):
        return {}  # JAX finds the other numbers itself
    if address is None or not (count or "").isdigit() or not (index or "").isdigit() or int(index) >= int(count):
        raise UserError(
            f"JAX_COORDINATOR_ADDRESS={address} JAX_NUM_PROCESSES={count} JAX_PROCESS_ID={index}: all three are "
            "needed, HOST:PORT, a count, and a number below it"
        )
    return {"coordinator_address": address, "num_processes": int(count), "process_id": int(index)}


def _is_slurm_step() -> bool:
    """Returns whether `srun` started several tasks; a batch script that was granted several is still one process."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def _is_tpu_vm() -> bool:
    """Returns whether there may be other hosts of a TPU slice: Kubernetes lists them, elsewhere JAX finds out."""
    hosts = os.environ.get("TPU_PROCESS_ADDRESSES", os.environ.get("TPU_WORKER_HOSTNAMES"))
    if hosts is not None:
        return "," in hosts or int(os.environ.get("MEGASCALE_NUM_SLICES", "1")) > 1
    has_chips = any(glob.glob(pattern) for pattern in ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*"))
    whole = "TPU_PROCESS_BOUNDS" not in os.environ  # set by users who run one host of a slice by itself
    return has_chips and whole and importlib.util.find_spec("libtpu") is not None


class PeerLostError(Exception):
    """Tells that another process of the run died or cannot be reached, as a failure of the devices shows."""

    def __init__(self, failure: Exception):
        reason = " ".join(str(failure).split())[:200]
        super().__init__(
            f"process {jax.process_index()} lost the others, one of which has probably died ({reason}); start all of "
            "them again, and the run goes on from its last checkpoint"
        )


def shutdown() -> None:
    """Disconnects from the peers, once all of them call it."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def leave_last() -> None:
    """Makes process 0 wait a little, so that others with the same error end first: when it ends, JAX aborts them."""
    if jax.distributed.is_initialized() and jax.process_count() > 1 and is_main_process():
        time.sleep(_PATIENCE)


def is_main_process() -> bool:
    """Returns whether this is process 0, which alone writes logs and prints."""
    return jax.process_index() == 0


def everywhere(fine: bool) -> bool:
    """Returns whether `fine` is true in all processes, which all call this and so go on alike."""
    return fine if jax.process_count() == 1 else bool(multihost_utils.process_allgather(np.int32(fine)).all())
