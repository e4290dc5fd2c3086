"""The batch of step s, from the host or from device memory; the only module that imports grain.

Example order is a fresh permutation of the split every epoch, a pure function of (seed, position); step s holds the
positions s * batch_size to (s + 1) * batch_size - 1. So the step alone is the position in the data, and every process
reads its own slice of the same global batch, whatever holds the pixels and however many workers read them.
"""

import dataclasses
import functools
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures

import grain
import jax
import jax.numpy as jnp
import numpy as np
import psutil
from absl import flags
from jax.sharding import Mesh, PartitionSpec
from tqdm import tqdm

from pix2pix_jax import parallel
from pix2pix_jax.data.pairs import WINDOWED, Pairs

Batch = dict[str, jax.Array]
Example = dict[str, np.ndarray]

MAX_STEP = 2**31 - 1  # steps are int32
_AHEAD = 16  # batches that are read before they are asked for


@dataclasses.dataclass(frozen=True)
class ExampleOrder:
    """order[s]: the example indices, int32 (batch_size,), of step s. Batches run on across the ends of epochs."""

    num_examples: int
    batch_size: int
    seed: int

    def __getitem__(self, step: int) -> np.ndarray:
        positions = self.positions(step)
        epochs = [_permutation(self.num_examples, self.seed, int(p)) for p in positions // self.num_examples]
        return np.array([e[p] for e, p in zip(epochs, positions % self.num_examples, strict=True)], np.int32)

    def positions(self, step: int) -> np.ndarray:
        """The places in the run, int64 (batch_size,), of the examples of a step."""
        return np.arange(step * self.batch_size, (step + 1) * self.batch_size)


@functools.lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    # RandomState, because NumPy promises that its draws never change from version to version.
    bits = np.random.MT19937(np.random.SeedSequence([seed, epoch]))
    return np.random.RandomState(bits).permutation(count)


def load_batch(pairs: Pairs, indices: np.ndarray) -> Example:
    """Loads and stacks examples: uint8 {"input", "target"} of (len(indices), H, W, C)."""
    return _stack(pairs[int(i)] for i in indices)


def _stack(examples: Iterable[Example]) -> Example:
    examples = list(examples)
    return {name: np.stack([e[name] for e in examples]) for name in examples[0]}


@dataclasses.dataclass(frozen=True)
class StepLoader:
    """loader(s): this process's share of the batch of step s; worker processes get a copy.

    Attributes:
      pairs: the training split.
      order: of its examples.
      slots: which places of the global batch are this process's.
      read: what `pairs[i]` is read through, as a `Cache`.
    """

    pairs: Pairs
    order: ExampleOrder
    slots: np.ndarray
    read: Callable[[int], Example]

    def __call__(self, step: int) -> Example:
        indices, positions = self.order[step][self.slots], self.order.positions(step)[self.slots]
        return _stack(self._load(int(i), int(p)) for i, p in zip(indices, positions, strict=True))

    def _load(self, index: int, position: int) -> Example:
        return self.pairs.window(index, self.read(index), seed=self.order.seed, position=position)


class Cache:
    """Keeps examples in the host's memory once they are decoded, up to `limit` bytes; for threads."""

    def __init__(self, pairs: Pairs, limit: int):
        self._pairs, self._left = pairs, limit
        self._kept: dict[int, Example] = {}

    def __call__(self, index: int) -> Example:
        if index in self._kept:
            return self._kept[index]
        example = self._pairs[index]
        size = sum(image.nbytes for image in example.values())
        if size <= self._left:  # two threads at once may decode an example twice, which does no harm
            self._left -= size
            self._kept[index] = example
        return example


def batches(
    pairs: Pairs,
    mesh: Mesh,
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
    residency: str = "device",
    num_workers: int = 0,
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
    """
    order = ExampleOrder(len(pairs), batch_size, seed)
    if residency == "host":
        return _host_batches(pairs, order, mesh, start, num_workers)
    return _resident_batches(pairs, order, mesh, start, sharded=residency == "sharded")


def num_bytes(pairs: Pairs) -> int:
    """Bytes of the whole split at load size."""
    height, width = pairs.size
    return len(pairs) * height * width * (pairs.input_channels + pairs.target_channels)


def choose_residency(pairs: Pairs, setting: str = "auto", *, shards: int = 1) -> str:
    """Where a split is to be: "device", "sharded" or "host".

    Args:
      pairs: the split.
      setting: "auto", the first of the three that takes at most a quarter of the free memory of the fullest device;
        "device", one of the first two; or "host".
      shards: devices that a sharded split is spread over.
    """
    if setting == "host" or pairs.preprocess in WINDOWED:
        return "host"
    share = parallel.free_memory() // 4
    if num_bytes(pairs) <= share:
        return "device"
    if shards > 1 and (setting == "device" or num_bytes(pairs) / shards <= share):
        return "sharded"
    return setting if setting == "device" else "host"


def choose_workers(pairs: Pairs, setting: int = -1) -> int:
    """How many processes are to read for the host, 0 for threads of this one.

    Under -1, threads where the split fits in the cache (`Cache`), since processes could not share it, or where there
    are at most two cores; otherwise a process for every core but one.
    """
    if setting >= 0:
        return setting
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 0 if num_bytes(pairs) <= _cache_limit() or cores <= 2 else cores - 1


def _cache_limit() -> int:
    return psutil.virtual_memory().available // 4


def _resident_batches(pairs: Pairs, order: ExampleOrder, mesh: Mesh, start: int, *, sharded: bool) -> Iterator[Batch]:
    if sharded:
        everything, take = _load_shards(pairs, mesh), _take_sharded(mesh)
    else:
        everything, take = parallel.replicate(_load(pairs, range(len(pairs))), mesh), _take_replicated(mesh)
    for step in _count_from(start):
        yield take(everything, parallel.replicate(order[step], mesh))


def _take_replicated(mesh: Mesh) -> Callable[[Batch, jax.Array], Batch]:
    return jax.jit(
        lambda arrays, indices: jax.tree.map(lambda a: a[indices], arrays),
        out_shardings=parallel.batch_sharding(mesh),
    )


def _load_shards(pairs: Pairs, mesh: Mesh) -> Batch:
    """The split spread over `data`, filled up with examples from its beginning; each process reads its own part."""
    shards = mesh.shape["data"]
    filled = np.arange(-(-len(pairs) // shards) * shards) % len(pairs)
    return parallel.from_local(_load(pairs, parallel.local_slice(filled, mesh)), mesh)


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


def _load(pairs: Pairs, indices: Iterable[int]) -> Example:
    with futures.ThreadPoolExecutor(16) as pool:
        indices = [int(i) for i in indices]
        examples = pool.map(pairs.__getitem__, indices)
        return _stack(tqdm(examples, total=len(indices), desc="load", unit="pair", leave=False, dynamic_ncols=True))


def _host_batches(pairs: Pairs, order: ExampleOrder, mesh: Mesh, start: int, num_workers: int) -> Iterator[Batch]:
    slots = parallel.local_slice(np.arange(order.batch_size), mesh)
    batches_of_process = read_steps(pairs, order, slots, start=start, num_workers=num_workers)
    try:
        for batch in batches_of_process:
            yield parallel.from_local(batch, mesh)
    finally:
        batches_of_process.close()


def read_steps(pairs: Pairs, order: ExampleOrder, slots: np.ndarray, *, start: int, num_workers: int):
    """Iterates over this process's shares of the batches of steps start, start + 1, ..., read ahead.

    Returns:
      a grain iterator, to be closed after use.
    """
    read = pairs.__getitem__ if num_workers else Cache(pairs, _cache_limit())
    steps = grain.MapDataset.range(start, MAX_STEP).map(StepLoader(pairs, order, slots, read))
    if not num_workers:
        threads = min(8, os.cpu_count() + 1)
        return iter(steps.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=_AHEAD)))
    if not flags.FLAGS.is_parsed():  # grain reads its flags to hand them to the workers
        flags.FLAGS.mark_as_parsed()
    alone = steps.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    options = grain.MultiprocessingOptions(
        num_workers=num_workers, per_worker_buffer_size=max(1, _AHEAD // num_workers)
    )
    return iter(alone.mp_prefetch(options, worker_init_fn=_start_worker))


def _start_worker(index: int, count: int) -> None:
    """A worker leaves Ctrl-C to the run, which still wants batches, and accelerators alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jax.config.update("jax_platforms", "cpu")


def _count_from(start: int) -> Iterator[int]:
    while True:
        yield start
        start += 1
