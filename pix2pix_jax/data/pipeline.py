"""Puts the batch of step s on the devices, a pure function of (seed, s).

Every process reads its own slice of the same global batch, wherever the pixels are kept and however many workers read
them.
"""

import contextlib
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from pix2pix_jax.data.device_resizing import make_resize
from pix2pix_jax.data.paired_dataset import WINDOWED, PairedDataset
from pix2pix_jax.data.reading import Example, ExampleOrder, prefetch, read_steps
from pix2pix_jax.runtime import meshes
from pix2pix_jax.runtime.console import bar

Batch = dict[str, jax.Array]

_ALIGNMENT = 64  # bytes
_LOADERS = min(16, 2 * (os.cpu_count() or 8))  # threads; more would take the cores from what compiles meanwhile
_PLACED = 2  # batches that are on the device before they are asked for


def batches(
    pairs: PairedDataset,
    mesh: Mesh,
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
    residency: str = "device",
    num_workers: int = 0,
) -> Iterator[Batch]:
    """Yields the global batches of steps start, start + 1, ... without end, with the same pixels at every residency.

    Args:
      pairs: the training split; with "host", its resizing may be deferred to the device.
      mesh: batches are sharded over its `data` axis.
      batch_size: number of examples of the global batch.
      seed: determines the example order and the windows that are cut on the host.
      start: the first step.
      residency: "device" (the whole split is loaded once into every device's memory), "sharded" (likewise, but each
        device along `data` has a part) or "host" (read while the device works).
      num_workers: with "host", processes that read; 0: threads of this process. See `choose_workers`.
    """
    order = ExampleOrder(len(pairs), batch_size, seed)
    if residency == "host":
        return _host_batches(pairs, order, mesh, start, num_workers)
    return _resident_batches(pairs, order, mesh, start, sharded=residency == "sharded")


def abstract_batch(pairs: PairedDataset, mesh: Mesh, *, batch_size: int) -> Batch:
    """Returns the shapes, dtypes and shardings of the batches that `batches` yields."""
    described = functools.partial(jax.ShapeDtypeStruct, sharding=meshes.batch_sharding(mesh))
    example = pairs.window(pairs[0], seed=0, position=0)
    return jax.tree.map(lambda image: described((batch_size, *image.shape), image.dtype), example)


def choose_residency(pairs: PairedDataset, setting: str = "auto", *, shards: int = 1) -> str:
    """Chooses where a split is kept, "device", "sharded" (over `shards` devices) or "host"; see `batches`.

    The setting "auto" chooses the first of the three that takes at most a quarter of the free memory of the fullest
    device, "device" one of the first two.
    """
    if setting == "host" or pairs.preprocess in WINDOWED:
        return "host"
    share = meshes.free_memory() // 4
    if pairs.num_bytes <= share:
        return "device"
    if shards > 1 and (setting == "device" or pairs.num_bytes / shards <= share):
        return "sharded"
    return "device" if setting == "device" else "host"


def _resident_batches(
    pairs: PairedDataset, order: ExampleOrder, mesh: Mesh, start: int, *, sharded: bool
) -> Iterator[Batch]:
    if sharded:
        everything, take = _load_shards(pairs, mesh), _take_sharded(mesh)
    else:
        everything = meshes.replicate(_load(pairs, range(len(pairs))), mesh)
        sharding = meshes.batch_sharding(mesh)
        take = jax.jit(lambda arrays, i: jax.tree.map(lambda a: a[i], arrays), out_shardings=sharding)
    for step in itertools.count(start):
        yield take(everything, meshes.replicate(order[step], mesh))


def _load_shards(pairs: PairedDataset, mesh: Mesh) -> Batch:
    """Loads the split spread over `data`, filled up with its first examples. Each process reads its own part."""
    shards = mesh.shape["data"]
    filled = np.arange(-(-len(pairs) // shards) * shards) % len(pairs)
    return meshes.from_local(_load(pairs, meshes.local_slice(filled, mesh)), mesh)


def _take_sharded(mesh: Mesh) -> Callable[[Batch, jax.Array], Batch]:
    """Makes the function that takes examples by index from all devices' parts. Each device sends one batch."""

    def take(part: jax.Array, indices: jax.Array) -> jax.Array:
        inside = indices - jax.lax.axis_index("data") * len(part)
        here = (inside >= 0) & (inside < len(part))
        mine = jnp.where(here[:, None, None, None], part[jnp.clip(inside, 0, len(part) - 1)], 0)
        return jax.lax.psum_scatter(mine, "data", tiled=True)  # one device has the pixels of an example, others 0

    data, everywhere = PartitionSpec("data"), PartitionSpec()
    spread = jax.shard_map(take, mesh=mesh, in_specs=(data, everywhere), out_specs=data)
    return jax.jit(lambda arrays, indices: jax.tree.map(lambda a: spread(a, indices), arrays))


def _load(pairs: PairedDataset, indices: Iterable[int]) -> Example:
    """Loads examples into arrays (len(indices), H, W, C) by name, each written to its final place."""
    indices = [int(i) for i in indices]
    first = pairs[indices[0]]
    arrays = {name: _aligned((len(indices), *image.shape), image.dtype) for name, image in first.items()}

    def load(place: int) -> None:
        for name, image in pairs[indices[place]].items():
            arrays[name][place] = image

    with futures.ThreadPoolExecutor(_LOADERS) as pool:
        loaded = pool.map(load, range(len(indices)))
        list(bar(loaded, total=len(indices), desc="load", unit="pair", leave=False))
    return arrays


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Allocates an array whose start is aligned so that JAX on a CPU uses it in place, instead of copying it."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    begin = -memory.ctypes.data % _ALIGNMENT
    return memory[begin : begin + size].view(dtype).reshape(shape)


def _host_batches(
    pairs: PairedDataset, order: ExampleOrder, mesh: Mesh, start: int, num_workers: int
) -> Iterator[Batch]:
    slots = meshes.local_slice(np.arange(order.batch_size), mesh)
    resize = make_resize(pairs.size, mesh)
    with contextlib.closing(read_steps(pairs, order, slots, start=start, num_workers=num_workers)) as shares:
        place = itertools.repeat(lambda: resize(meshes.from_local(next(shares), mesh)))
        yield from prefetch(place, ahead=_PLACED, threads=1)
