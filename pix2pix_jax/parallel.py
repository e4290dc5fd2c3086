"""Devices: start-up of several processes, the mesh, and arrays placed on it.

The mesh has two axes: `data` shards the batch, `rows` shards image height (spatial partitioning). Parameters are
replicated. One jitted program serves one device and a pod; only shardings differ.
"""

import glob
import importlib.util
import os
import time
from typing import Any

import jax
import numpy as np
import psutil
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pix2pix_jax.errors import UserError

HEARTBEAT_SECONDS = 60  # after so long without a sign of life of a process, JAX aborts the others
_PATIENCE = 3  # seconds


def initialize() -> None:
    """Connects this process to its peers where the environment says that there are any; before any use of a device.

    Any launcher can say so by JAX_COORDINATOR_ADDRESS (HOST:PORT of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID.
    The tasks of a Slurm step and the hosts of a TPU slice are detected by JAX itself.

    Raises:
      UserError: the environment is incomplete, or the peers do not come.
    """
    by_hand = _from_environment()
    if by_hand or _is_slurm_step() or _is_tpu_vm():
        try:
            jax.distributed.initialize(**by_hand, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"the processes of this run could not connect: {' '.join(str(error).split())}") from error


def _from_environment() -> dict[str, Any]:
    """Arguments of `jax.distributed.initialize`; {} if nothing is set."""
    address, count, index = (
        os.environ.get(f"JAX_{name}") for name in ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID")
    )
    if count is None and index is None:
        return {}
    if address is None or not (count or "").isdigit() or not (index or "").isdigit() or int(index) >= int(count):
        raise UserError(
            f"JAX_COORDINATOR_ADDRESS={address} JAX_NUM_PROCESSES={count} JAX_PROCESS_ID={index}: all three are "
            "needed, HOST:PORT, a count, and a number below it"
        )
    return {"coordinator_address": address, "num_processes": int(count), "process_id": int(index)}


def _is_slurm_step() -> bool:
    """Whether `srun` started several of this; a batch script that has several tasks but did not is alone."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def _is_tpu_vm() -> bool:
    """Whether there may be other hosts of a TPU slice: on Kubernetes they are listed, elsewhere JAX asks."""
    hosts = os.environ.get("TPU_PROCESS_ADDRESSES", os.environ.get("TPU_WORKER_HOSTNAMES"))
    if hosts is not None:
        return "," in hosts or int(os.environ.get("MEGASCALE_NUM_SLICES", "1")) > 1
    has_chips = any(glob.glob(pattern) for pattern in ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*"))
    whole = "TPU_PROCESS_BOUNDS" not in os.environ  # set by who wants one host of a slice for something else
    return has_chips and whole and importlib.util.find_spec("libtpu") is not None


class PeerLost(Exception):
    """Another process of the run died or cannot be reached."""


def peer_lost(error: Exception) -> PeerLost:
    """What a failure of the devices means in a run of several processes."""
    return PeerLost(
        f"process {jax.process_index()} lost the others, one of which has probably died "
        f"({' '.join(str(error).split())[:200]}); start all of them again, and the run goes on from its last checkpoint"
    )


def shutdown() -> None:
    """Parts from the peers, once all of them have come here."""
    if jax.process_count() > 1:
        jax.distributed.shutdown()


def leave_last() -> None:
    """Lets the others go first, if they fail for the same reason: when process 0 goes, JAX aborts all that are left."""
    if jax.process_count() > 1 and is_main_process():
        time.sleep(_PATIENCE)


def is_main_process() -> bool:
    """Process 0 alone writes logs and prints."""
    return jax.process_index() == 0


def make_mesh(*, batch_size: int, data: int = -1, rows: int = 1) -> Mesh:
    """The mesh of `data` x `rows` devices.

    Args:
      batch_size: of the global batch; a multiple of `data`.
      data: devices along the batch; -1 takes as many as divide the batch, and leaves the others idle.
      rows: devices along image height.

    Raises:
      UserError: more devices than there are, or a batch that they do not divide.
    """
    count = jax.device_count()
    if rows < 1 or rows > count:
        raise UserError(f"config.mesh.rows: {rows}, but there are {count} devices; use 1 to {count}")
    if data == -1:
        data = max(n for n in range(1, count // rows + 1) if batch_size % n == 0)
    if data < 1 or data * rows > count:
        raise UserError(f"config.mesh.data: {data} x {rows} rows, but there are {count} devices; use -1")
    if batch_size % data:
        fitting = [n for n in range(1, count // rows + 1) if batch_size % n == 0]
        raise UserError(
            f"config.batch_size: {batch_size} is not divisible by the {data} devices of config.mesh.data; "
            f"{', '.join(map(str, fitting))} devices would fit"
        )
    if jax.process_count() > 1 and data * rows != count:
        raise UserError(
            f"config.batch_size: {batch_size} keeps {data * rows} of {count} devices busy, and every process needs "
            f"work; use a multiple of {count // rows}"
        )
    devices = jax.devices()[: data * rows]
    return jax.make_mesh((data, rows), ("data", "rows"), axis_types=(AxisType.Auto,) * 2, devices=devices)


def make_local_mesh() -> Mesh:
    """All of this process's devices along `data`, for inference."""
    devices = jax.local_devices()
    return jax.make_mesh((len(devices), 1), ("data", "rows"), axis_types=(AxisType.Auto,) * 2, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Of arrays (N, ...) whose examples are spread over `data`."""
    return NamedSharding(mesh, PartitionSpec("data"))


def constrain_images(tree: Any, mesh: Mesh) -> Any:
    """Inside jit: spreads images (N, H, W, C) over `data` and their rows over `rows`."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec("data", "rows")))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Host arrays, the same in every process, to all devices of the mesh."""
    sharding = replicated(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x, x.shape), tree)


def local_slice(items: np.ndarray, mesh: Mesh) -> np.ndarray:
    """This process's contiguous share of a global batch's items (N,)."""
    indices = batch_sharding(mesh).addressable_devices_indices_map(items.shape).values()
    bounds = [index[0].indices(len(items)) for index in indices]
    return items[min(start for start, _, _ in bounds) : max(stop for _, stop, _ in bounds)]


def from_local(tree: Any, mesh: Mesh) -> Any:
    """Each process's share of a batch to one global array, sharded over `data`."""
    sharding = batch_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def free_memory() -> int:
    """Bytes free on the fullest device; for a CPU the machine's available memory shared among its devices.

    The same in all processes, which have to choose alike where data stays.
    """
    free = []
    for device in jax.local_devices():
        stats = device.memory_stats()
        if stats and "bytes_limit" in stats:
            free.append(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    least = min(free) if free else psutil.virtual_memory().available // len(jax.local_devices())
    if jax.process_count() == 1:
        return least
    mebibytes = np.int32(least >> 20)  # JAX has no 64 bits
    return int(multihost_utils.process_allgather(mebibytes).min()) << 20
