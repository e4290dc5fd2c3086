"""The batch of step s on the devices, a pure function of (seed, s).

Every process reads its own slice of the same global batch, whatever holds the pixels and however many workers read
them.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from pix2pix_jax.data import resampling
from pix2pix_jax.data.paired_dataset import WINDOWED, PairedDataset
from pix2pix_jax.data.reading import Example, ExampleOrder, num_bytes, prefetch, read_steps
from pix2pix_jax.runtime import meshes
from pix2pix_jax.runtime.console import bar

Batch = dict[str, jax.Array]

_ALIGNMENT = 64  # bytes
_PLACED = 2  # batches that are on the device before they are asked for
_LARGEST = 8  # times as many pixels as at load size: more than that, resizing on the host saves memory and transfers


def batches(
    pairs: PairedDataset,
    mesh: Mesh,
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
    residency: str = "device",
    num_workers: int = 0,
    resize_on_device: bool = False,
) -> Iterator[Batch]:
    """Yields the global batches of steps start, start + 1, ... without end; the same pixels from wherever they come.

    Args:
      pairs: the training split.
      mesh: batches are sharded over its `data` axis.
      batch_size: of the global batch.
      seed: of the example order and of windows that are cut on the host.
      start: the first step.
      residency: "device" (the whole split is loaded once into every device's memory), "sharded" (likewise, but each
        device along `data` has a part) or "host" (read while the device works).
      num_workers: with "host", processes that read; 0: threads of this process. See `choose_workers`.
      resize_on_device: with "host", leaves images that have the same size to the device. See `can_resize_on_device`.
    """
    order = ExampleOrder(len(pairs), batch_size, seed)
    if residency == "host":
        own_size = shared_size(pairs) if resize_on_device else None
        return _host_batches(pairs, order, mesh, start, num_workers, own_size)
    return _resident_batches(pairs, order, mesh, start, sharded=residency == "sharded")


def abstract_batch(pairs: PairedDataset, mesh: Mesh, *, batch_size: int) -> Batch:
    """The shapes, dtypes and places of what `batches` yields."""
    place = meshes.batch_sharding(mesh)
    return {
        name: jax.ShapeDtypeStruct((batch_size, *image.shape), image.dtype, sharding=place)
        for name, image in pairs[0].items()
    }


def choose_residency(pairs: PairedDataset, setting: str = "auto", *, shards: int = 1) -> str:
    """Where a split is to be: "device", "sharded" or "host".

    Args:
      pairs: the split.
      setting: "auto", the first of the three that takes at most a quarter of the free memory of the fullest device;
        "device", one of the first two; or "host".
      shards: devices that a sharded split is spread over.
    """
    if setting == "host" or pairs.preprocess in WINDOWED:
        return "host"
    share = meshes.free_memory() // 4
    if num_bytes(pairs) <= share:
        return "device"
    if shards > 1 and (setting == "device" or num_bytes(pairs) / shards <= share):
        return "sharded"
    return setting if setting == "device" else "host"


def _resident_batches(
    pairs: PairedDataset, order: ExampleOrder, mesh: Mesh, start: int, *, sharded: bool
) -> Iterator[Batch]:
    if sharded:
        everything, take = _load_shards(pairs, mesh), _take_sharded(mesh)
    else:
        everything, take = meshes.replicate(_load(pairs, range(len(pairs))), mesh), _take_replicated(mesh)
    for step in _count_from(start):
        yield take(everything, meshes.replicate(order[step], mesh))


def _take_replicated(mesh: Mesh) -> Callable[[Batch, jax.Array], Batch]:
    return jax.jit(
        lambda arrays, indices: jax.tree.map(lambda a: a[indices], arrays),
        out_shardings=meshes.batch_sharding(mesh),
    )


def _load_shards(pairs: PairedDataset, mesh: Mesh) -> Batch:
    """The split spread over `data`, filled up with examples from its beginning; each process reads its own part."""
    shards = mesh.shape["data"]
    filled = np.arange(-(-len(pairs) // shards) * shards) % len(pairs)
    return meshes.from_local(_load(pairs, meshes.local_slice(filled, mesh)), mesh)


def _take_sharded(mesh: Mesh) -> Callable[[Batch, jax.Array], Batch]:
    """Examples by index out of all devices' parts; what travels between devices is one batch from each."""

    def take(part: jax.Array, indices: jax.Array) -> jax.Array:
        inside = indices - jax.lax.axis_index("data") * len(part)
        here = (inside >= 0) & (inside < len(part))
        found = jnp.where(here[:, None, None, None], part[jnp.clip(inside, 0, len(part) - 1)], 0)
        return jax.lax.psum_scatter(found, "data", tiled=True)  # of each example one device has the pixels, others 0

    data, everywhere = PartitionSpec("data"), PartitionSpec()
    spread = jax.shard_map(take, mesh=mesh, in_specs=(data, everywhere), out_specs=data)
    return jax.jit(lambda arrays, indices: jax.tree.map(lambda a: spread(a, indices), arrays))


def _load(pairs: PairedDataset, indices: Iterable[int]) -> Example:
    """Those examples as arrays (len(indices), H, W, C), each of which is written to where it stays."""
    indices = [int(i) for i in indices]
    first = pairs[indices[0]]
    arrays = {name: _aligned((len(indices), *image.shape), image.dtype) for name, image in first.items()}

    def load(place: int) -> None:
        for name, image in pairs[indices[place]].items():
            arrays[name][place] = image

    with futures.ThreadPoolExecutor(16) as pool:
        loaded = pool.map(load, range(len(indices)))
        for _ in bar(loaded, total=len(indices), desc="load", unit="pair", leave=False):
            pass
    return arrays


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array without content that begins where a CPU's JAX can use it in place; others are copied."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    begin = -memory.ctypes.data % _ALIGNMENT
    return memory[begin : begin + size].view(dtype).reshape(shape)


def can_resize_on_device(mesh: Mesh) -> bool:
    """An accelerator resizes in passing. Several processes would have to agree on which batches it is to resize."""
    return meshes.platform(mesh) != "cpu" and jax.process_count() == 1


def shared_size(pairs: PairedDataset) -> tuple[int, int] | None:
    """The own size of the first example if the device can resize from it to load size; most sets have one size."""
    plain = {pairs.input_interpolation, pairs.target_interpolation} == {"bicubic"}
    if pairs.preprocess != "resize_and_crop" or not plain or not len(pairs):
        return None
    height, width = size = pairs.decode(0)["target"].shape[:2]
    small = height * width <= _LARGEST * pairs.size[0] * pairs.size[1]
    return size if size != pairs.size and small and resampling.agrees(size, pairs.size) else None


def _host_batches(
    pairs: PairedDataset,
    order: ExampleOrder,
    mesh: Mesh,
    start: int,
    num_workers: int,
    own_size: tuple[int, int] | None,
) -> Iterator[Batch]:
    slots = meshes.local_slice(np.arange(order.batch_size), mesh)
    batches_of_process = read_steps(pairs, order, slots, start=start, num_workers=num_workers, own_size=own_size)
    resize = jax.jit(
        lambda batch: jax.tree.map(lambda image: resampling.resize(image, pairs.size), batch),
        out_shardings=meshes.batch_sharding(mesh),
    )

    def place() -> Batch:
        batch = next(batches_of_process)
        placed = meshes.from_local(batch, mesh)
        return placed if batch["target"].shape[1:3] == pairs.size else resize(placed)

    try:
        yield from prefetch(itertools.repeat(place), ahead=_PLACED, threads=1)
    finally:
        batches_of_process.close()


def _count_from(start: int) -> Iterator[int]:
    while True:
        yield start
        start += 1
