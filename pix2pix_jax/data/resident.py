"""Keeps a split in the devices' memory, and takes batches from there.

Until the split is there, a single process makes batches of what is decoded so far: the first steps need few examples.
"""

import collections
import contextlib
import itertools
import math
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.data.reading import Example, ExampleOrder
from pix2pix_jax.runtime import meshes
from pix2pix_jax.runtime.console import bar

Batch = dict[str, jax.Array]

_ALIGNMENT = 64  # bytes
_THREADS = min(16, 2 * (os.cpu_count() or 8))


def batches(
    pairs: PairedDataset,
    order: ExampleOrder,
    mesh: Mesh,
    start: int,
    *,
    sharded: bool,
    while_loading: Callable[[int], None],
) -> Generator[Batch]:
    """Yields the batches of steps start, start + 1, ... of a split that every device has, or each along `data` a part.

    Calls `while_loading` with each step whose batch comes before all of the split is there.

    Raises UserError if an example cannot be read: before the first batch that needs it, and soon after it was found.
    """
    steps = itertools.count(start)
    share = _share(len(pairs), mesh) if sharded else np.arange(len(pairs))
    with contextlib.closing(_Loader(pairs, share, first=_in_order_of_use(order, start))) as loader:
        for step in _until_loaded(loader, order, mesh, steps):
            while_loading(step)
            yield meshes.from_local(loader.take(order[step]), mesh)
        loaded = loader.wait()
    del loader
    everything = meshes.from_local(loaded, mesh) if sharded else meshes.replicate(loaded, mesh)
    del loaded  # an accelerator has a copy
    take = _take_sharded(mesh) if sharded else _take(mesh)
    for step in steps:
        yield take(everything, meshes.replicate(order[step], mesh))


def _until_loaded(loader: "_Loader", order: ExampleOrder, mesh: Mesh, steps: Iterator[int]) -> Iterator[int]:
    """Yields the steps that come before all examples are there.

    Where a CPU trains, the first step's examples are loaded alone: the others would take the processor from what traces
    and compiles it. They begin when the second one is asked for.
    """
    if jax.process_count() > 1:  # they could not go over to the devices' memory at the same step
        return
    if meshes.platform(mesh) == "cpu":
        loader.begin(order.batch_size)
        yield next(steps)
    loader.begin()
    while not loader.is_done():
        yield next(steps)


def _share(count: int, mesh: Mesh) -> np.ndarray:
    """Returns the examples that this process's devices have, of a split filled up with its first ones."""
    shards = mesh.shape["data"]
    return meshes.local_slice(np.arange(-(-count // shards) * shards) % count, mesh)


def _in_order_of_use(order: ExampleOrder, start: int) -> list[int]:
    """Returns the indices of all examples, those first that are needed first from step `start` on."""
    first = start * order.batch_size
    used = order.at(np.arange(first, first + order.num_examples))
    return list(dict.fromkeys([*used.tolist(), *range(order.num_examples)]))


def _take(mesh: Mesh) -> Callable[[Batch, jax.Array], Batch]:
    """Makes the function that takes examples by index from a split that every device has."""
    sharding = meshes.batch_sharding(mesh)
    return jax.jit(lambda arrays, indices: jax.tree.map(lambda a: a[indices], arrays), out_shardings=sharding)


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


class _Loader:
    """Decodes examples in threads into arrays (len(indices), H, W, C) by name, each written to its final place."""

    def __init__(self, pairs: PairedDataset, indices: np.ndarray, *, first: Sequence[int]):
        """Makes room for the examples `indices`; `first` has each index of `pairs` once, in the order of use."""
        rank = np.empty(len(pairs), np.int64)
        rank[first] = np.arange(len(pairs))
        again = np.arange(len(indices)) >= len(pairs)  # what fills up the last shard
        example = pairs[int(indices[0])]
        self._pairs, self._indices = pairs, indices
        self._arrays = {name: _aligned((len(indices), *x.shape), x.dtype) for name, x in example.items()}
        self._threads = futures.ThreadPoolExecutor(_THREADS)
        self._places = np.lexsort((rank[indices], again)).tolist()
        self._loading: dict[int, futures.Future] = {}
        self._left: collections.deque[futures.Future] = collections.deque()

    def begin(self, count: int | None = None) -> None:
        """Begins with the first `count` examples that are needed, or all, but for those that it has begun with."""
        for place in self._places[len(self._loading) : count]:
            self._loading[place] = self._threads.submit(self._load, place)
            self._left.append(self._loading[place])

    def _load(self, place: int) -> None:
        for name, image in self._pairs[int(self._indices[place])].items():
            self._arrays[name][place] = image

    def take(self, places: np.ndarray) -> Example:
        """Returns copies of the examples at `places`, once they are there. Raises what decoding one has raised."""
        for place in places.tolist():
            self._loading[place].result()
        return {name: array[places] for name, array in self._arrays.items()}

    def is_done(self) -> bool:
        """Tells whether all examples are there. Raises what decoding one has raised."""
        while self._left and self._left[0].done():
            self._left.popleft().result()
        return not self._left and len(self._loading) == len(self._places)

    def wait(self) -> Example:
        """Returns all examples, once they are there. Raises what decoding one has raised."""
        self.begin()
        if self._left:  # else a bar would be shown of nothing
            loaded = (loading.result() for loading in self._left)
            collections.deque(bar(loaded, total=len(self._left), desc="load", unit="pair", leave=False), maxlen=0)
        return self._arrays

    def close(self) -> None:
        """Decodes no more than what has begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Allocates an array whose start is aligned so that JAX on a CPU uses it in place, instead of copying it."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    begin = -memory.ctypes.data % _ALIGNMENT
    return memory[begin : begin + size].view(dtype).reshape(shape)
