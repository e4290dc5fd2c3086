"""Devices: start-up of several processes, the mesh, and arrays placed on it.

The mesh has two axes: `data` shards the batch, `rows` shards image height (spatial partitioning). Parameters are
replicated. One jitted program serves one device and a pod; only shardings differ.
"""

import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import optax
import psutil
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pix2pix_jax.errors import UserError


def initialize() -> None:
    """Connects this process to its peers where the environment says that there are any; before any use of a device.

    JAX itself detects the hosts of a TPU slice, Slurm and Kubernetes.
    """
    workers = os.environ.get("TPU_WORKER_HOSTNAMES", "")
    slurm_tasks = int(os.environ.get("SLURM_NTASKS", "1"))
    if "JAX_COORDINATOR_ADDRESS" in os.environ or "," in workers or slurm_tasks > 1:
        jax.distributed.initialize()


def is_main_process() -> bool:
    """Process 0 alone writes logs and prints."""
    return jax.process_index() == 0


def make_mesh(
    *, batch_size: int, data: int = -1, rows: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """The mesh of `data` x `rows` devices.

    Args:
      batch_size: of the global batch; a multiple of `data`.
      data: devices along the batch; -1 takes as many as divide the batch, and leaves the others idle.
      rows: devices along image height.
      devices: to choose from; None: all that there are. They need not be there to be compiled for.

    Raises:
      UserError: more devices than there are, or a batch that they do not divide.
    """
    devices = jax.devices() if devices is None else devices
    count = len(devices)
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
    axes = {"axis_names": ("data", "rows"), "axis_types": (AxisType.Auto,) * 2}
    return jax.make_mesh((data, rows), **axes, devices=devices[: data * rows])


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


def keep_gradients_whole(optimizer: optax.GradientTransformation, mesh: Mesh) -> optax.GradientTransformation:
    """The same optimiser, for inside jit: all devices of the mesh do the whole update.

    Left to itself, XLA leaves gradients of some kernels in pieces where few rows are spread over many devices, updates
    pieces, and then sends new parameters and both moments around instead of the gradient alone.
    """

    def update(gradients: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return optimizer.update(jax.lax.with_sharding_constraint(gradients, replicated(mesh)), state, params)

    return optax.GradientTransformation(optimizer.init, update)


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
