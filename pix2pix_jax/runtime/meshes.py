"""Arranges a run's devices in a mesh, and shards arrays on it."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import optax
import psutil
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pix2pix_jax.errors import UserError


def make_mesh(
    *,
    batch_size: int,
    accumulate_steps: int = 1,
    data: int = -1,
    rows: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """Makes the mesh of `data` x `rows` devices.

    Where devices come in several slices (of TPUs, or of GPUs that share fast links), `data` spans the slices, as its
    sums cross the slow network once a step. `rows`, whose neighbours exchange halos at every layer, stays in one.

    Args:
      batch_size: images in the global batch.
      accumulate_steps: microbatches in a batch; `data` divides the size of a microbatch.
      data: devices along the batch; -1 takes as many as divide a microbatch, and leaves the others idle.
      rows: devices along image height.
      devices: the devices to choose from; None: all. Those that are only compiled for need not exist.

    Raises:
      UserError: there are too few devices, they do not divide a microbatch, or rows do not fit into a slice.
    """
    devices = jax.devices() if devices is None else devices
    count = len(devices)
    if not 1 <= rows <= count:
        raise UserError(f"config.mesh.rows: {rows}, but there are {count} devices; use 1 to {count}")
    fitting = [n for n in range(1, count // rows + 1) if batch_size % (n * accumulate_steps) == 0]
    data = max(fitting, default=1) if data == -1 else data
    if data < 1 or data * rows > count:
        raise UserError(f"config.mesh.data: {data} x {rows} rows, but there are {count} devices; use -1")
    if data not in fitting:
        parts = f" in {accumulate_steps} parts (config.accumulate_steps)" if accumulate_steps > 1 else ""
        raise UserError(
            f"config.batch_size: {batch_size}{parts} is not divisible by the {data} devices of config.mesh.data; "
            f"{', '.join(map(str, fitting))} devices would fit"
        )
    if jax.process_count() > 1 and data * rows != count:
        raise UserError(
            f"config.batch_size: {batch_size} keeps {data * rows} of {count} devices busy, and every process needs "
            f"work; use a multiple of {count // rows * accumulate_steps}"
        )
    return _mesh(arrange(devices, data=data, rows=rows))


def arrange(devices: Sequence[jax.Device], *, data: int, rows: int) -> np.ndarray:
    """Returns the devices of a mesh, (data, rows), in its order; see `make_mesh`."""
    if data * rows < len(devices):  # JAX arranges whole tori only
        return np.asarray(devices[: data * rows]).reshape(data, rows)
    slices = len({_slice_of(device) for device in devices})
    in_slice = len(devices) // slices
    if in_slice % rows:
        fitting = ", ".join(str(n) for n in range(1, in_slice + 1) if in_slice % n == 0)
        raise UserError(
            f"config.mesh.rows: {rows} do not fit into the {in_slice} devices of each of {slices} slices; use {fitting}"
        )
    split = {"allow_split_physical_axes": True}
    if slices == 1:
        grid = mesh_utils.create_device_mesh((data, rows), devices, **split)
    else:
        grid = mesh_utils.create_hybrid_device_mesh((data // slices, rows), (slices, 1), devices, **split)
    # Each process reads a contiguous share of a batch; sums over `data` work in any order.
    return np.asarray(sorted(grid, key=lambda row: [(_slice_of(device), device.process_index) for device in row]))


def _slice_of(device: jax.Device) -> int:
    return getattr(device, "slice_index", 0)  # only devices of several slices have one


def _mesh(grid: np.ndarray) -> Mesh:
    return Mesh(grid, ("data", "rows"), axis_types=(AxisType.Auto, AxisType.Auto))


def make_local_mesh(rows: int = 0) -> Mesh:
    """Makes a mesh of this process's devices, for inference: all along `data`, or `rows` of them along `rows`."""
    devices = np.asarray(jax.local_devices())
    return _mesh(devices[: min(rows, len(devices))].reshape(1, -1) if rows else devices.reshape(-1, 1))


def evaluation_mesh(mesh: Mesh) -> Mesh:
    """Makes a mesh of all devices along `data`, also of those that training leaves idle."""
    return make_local_mesh() if jax.process_count() == 1 else _mesh(mesh.devices.reshape(-1, 1))


def platform(mesh: Mesh) -> str:
    """Returns the platform of a mesh's devices: "cpu", "gpu" or "tpu"."""
    return mesh.devices.flat[0].platform


def inference_batch(mesh: Mesh) -> int:
    """Returns the batch size of inference: a CPU gains nothing from several images a device, accelerators do."""
    return mesh.shape["data"] * (1 if platform(mesh) == "cpu" else 16)  # 16 at 256 px take about 1 GB


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays (N, ...) with their examples spread over `data`."""
    return NamedSharding(mesh, PartitionSpec("data"))


def spread_along_data(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """Returns the sharding of an array along the largest of its axes that `data` divides, if it has two or more."""
    divisible = [axis for axis, size in enumerate(shape) if size % mesh.shape["data"] == 0]
    if not divisible or len(shape) < 2:
        return replicated(mesh)
    largest = max(divisible, key=lambda axis: shape[axis])
    return NamedSharding(mesh, PartitionSpec(*("data" if axis == largest else None for axis in range(len(shape)))))


def constrain_images(tree: Any, mesh: Mesh) -> Any:
    """Spreads images (N, H, W, C) over `data` and their rows over `rows`, inside jit."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec("data", "rows")))


def constrain_whole_images(tree: Any, mesh: Mesh) -> Any:
    """Spreads images (N, H, W, C) over `data` alone, inside jit: `rows`' devices have the same ones."""
    return jax.lax.with_sharding_constraint(tree, batch_sharding(mesh))


def place_gradients(
    optimizer: optax.GradientTransformation, mesh: Mesh, *, shard_optimizer: bool = False
) -> optax.GradientTransformation:
    """Makes an optimiser shard gradients like its moments, inside jit; see `state_shardings`.

    Without it XLA shards the gradients of some kernels otherwise where few rows are spread over many devices, updates
    in that sharding, and then sends new parameters and both moments around instead of the gradient alone.
    """

    def place(gradient: jax.Array) -> jax.Array:
        sharding = spread_along_data(gradient.shape, mesh) if shard_optimizer else replicated(mesh)
        return jax.lax.with_sharding_constraint(gradient, sharding)

    def update(gradients: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return optimizer.update(jax.tree.map(place, gradients), state, params)

    return optax.GradientTransformation(optimizer.init, update)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Copies host arrays, the same in every process, to all devices of the mesh."""
    sharding = replicated(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x, x.shape), tree)


def spread(tree: Any, mesh: Mesh) -> Any:
    """Shards host arrays (N, ...), the same in every process, over `data`; replicates them if it does not divide N."""

    def place(x: np.ndarray) -> jax.Array:
        sharding = replicated(mesh) if len(x) % mesh.shape["data"] else batch_sharding(mesh)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(place, tree)


def spread_rows(images: np.ndarray, mesh: Mesh) -> jax.Array:
    """Shards a host array (N, H, W, C) over `rows`; where its devices do not divide H, every device gets all of it."""
    spec = PartitionSpec(None, "rows") if images.shape[1] % mesh.shape["rows"] == 0 else PartitionSpec()
    return jax.device_put(images, NamedSharding(mesh, spec))


def local_slice(items: np.ndarray, mesh: Mesh) -> np.ndarray:
    """Returns this process's contiguous share of a global batch's items (N,)."""
    indices = batch_sharding(mesh).addressable_devices_indices_map(items.shape).values()
    bounds = [index[0].indices(len(items)) for index in indices]
    return items[min(start for start, _, _ in bounds) : max(stop for _, stop, _ in bounds)]


def from_local(tree: Any, mesh: Mesh) -> Any:
    """Joins the processes' shares of a batch to global arrays, sharded over `data`."""
    sharding = batch_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def free_memory() -> int:
    """Returns the free bytes of the fullest device; on a CPU, the machine's available memory divided by its devices.

    All processes get the same number, so that they choose the same residency of the data.
    """
    known = [stats for device in jax.local_devices() if "bytes_limit" in (stats := device.memory_stats() or {})]
    free = [stats["bytes_limit"] - stats.get("bytes_in_use", 0) for stats in known]
    least = min(free) if free else psutil.virtual_memory().available // len(jax.local_devices())
    if jax.process_count() == 1:
        return least
    mebibytes = np.int32(least >> 20)  # JAX has no 64 bits
    return int(multihost_utils.process_allgather(mebibytes).min()) << 20
