"""Puts the batch of step s on the devices, a pure function of (seed, s).

Every process reads its own slice of the same global batch, wherever the pixels are kept and however many workers read
them.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from pix2pix_jax.data import resident
from pix2pix_jax.data.device_resizing import make_resize
from pix2pix_jax.data.paired_dataset import WINDOWED, PairedDataset
from pix2pix_jax.data.reading import ExampleOrder, prefetch, read_steps
from pix2pix_jax.data.resident import Batch
from pix2pix_jax.runtime import meshes

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
    while_loading: Callable[[int], None] = lambda step: None,
) -> Iterator[Batch]:
    """Yields the global batches of steps start, start + 1, ... without end, with the same pixels at every residency.

    Args:
      pairs: the training split; with "host", its resizing may be deferred to the device.
      mesh: batches are sharded over its `data` axis.
      batch_size: number of examples of the global batch.
      seed: determines the example order and the windows that are cut on the host.
      start: the first step.
      residency: "device" (the whole split is loaded once into every device's memory, beside the first steps where
        there is one process), "sharded" (likewise, but each device along `data` has a part) or "host" (read while the
        device works).
      num_workers: with "host", processes that read; 0: threads of this process. See `choose_workers`.
      while_loading: called with each step whose batch comes before the whole split is loaded, which thus takes longer.
    """
    order = ExampleOrder(len(pairs), batch_size, seed)
    if residency == "host":
        return _host_batches(pairs, order, mesh, start, num_workers)
    sharded = residency == "sharded"
    return resident.batches(pairs, order, mesh, start, sharded=sharded, while_loading=while_loading)


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


def _host_batches(
    pairs: PairedDataset, order: ExampleOrder, mesh: Mesh, start: int, num_workers: int
) -> Iterator[Batch]:
    slots = meshes.local_slice(np.arange(order.batch_size), mesh)
    resize = make_resize(pairs.size, mesh)
    with contextlib.closing(read_steps(pairs, order, slots, start=start, num_workers=num_workers)) as shares:
        place = itertools.repeat(lambda: resize(meshes.from_local(next(shares), mesh)))
        yield from prefetch(place, ahead=_PLACED, threads=1)
