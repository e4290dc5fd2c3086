"""The batch of step s, from the host or from device memory; the only module that imports grain.

Example order is a fresh permutation of the split every epoch, a pure function of (seed, position); step s holds the
positions s * batch_size to (s + 1) * batch_size - 1. So the step alone is the position in the data, and every process
reads its own slice of the same global batch.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from concurrent import futures

import grain
import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from pix2pix_jax import parallel
from pix2pix_jax.data.pairs import Pairs

Batch = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class ExampleOrder:
    """order[s]: the example indices, int32 (batch_size,), of step s. Batches run on across the ends of epochs."""

    num_examples: int
    batch_size: int
    seed: int

    def __len__(self) -> int:
        return 2**31 - 1  # steps are int32; grain wants an end

    def __getitem__(self, step: int) -> np.ndarray:
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs = [_permutation(self.num_examples, self.seed, int(p)) for p in positions // self.num_examples]
        return np.array([e[p] for e, p in zip(epochs, positions % self.num_examples, strict=True)], np.int32)


@functools.lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    # RandomState, because NumPy promises that its draws never change from version to version.
    bits = np.random.MT19937(np.random.SeedSequence([seed, epoch]))
    return np.random.RandomState(bits).permutation(count)


def load_batch(pairs: Pairs, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Loads and stacks examples: uint8 {"input", "target"} of (len(indices), H, W, C)."""
    return _stack(pairs[int(i)] for i in indices)


def _stack(examples: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    examples = list(examples)
    return {name: np.stack([e[name] for e in examples]) for name in examples[0]}


def batches(
    pairs: Pairs, mesh: Mesh, *, batch_size: int, seed: int, start: int = 0, residency: str = "device"
) -> Iterator[Batch]:
    """Yields the global batches of steps start, start + 1, ... without end.

    Args:
      pairs: the training split.
      mesh: batches are sharded over its `data` axis.
      batch_size: of the global batch.
      seed: of the example order.
      start: the first step.
      residency: "device" (the whole split is loaded once into every device's memory) or "host" (decoded anew each
        epoch by threads). The pixels are the same.
    """
    order = ExampleOrder(len(pairs), batch_size, seed)
    if residency == "device":
        return _resident_batches(parallel.replicate(_load_all(pairs), mesh), order, mesh, start)
    return _host_batches(pairs, order, mesh, start)


def num_bytes(pairs: Pairs) -> int:
    """Bytes of the whole split at load size."""
    height, width = pairs.size
    return len(pairs) * height * width * (pairs.input_channels + pairs.target_channels)


def choose_residency(pairs: Pairs, setting: str = "auto") -> str:
    """Where a split is to be, "device" or "host"; under "auto" on the device if it takes a quarter of free memory."""
    if setting != "auto":
        return setting
    return "device" if num_bytes(pairs) <= parallel.free_memory() // 4 else "host"


def _resident_batches(everything: dict[str, jax.Array], order: ExampleOrder, mesh: Mesh, start: int) -> Iterator[Batch]:
    take = jax.jit(
        lambda arrays, indices: jax.tree.map(lambda a: a[indices], arrays),
        out_shardings=parallel.batch_sharding(mesh),
    )
    for step in _count_from(start):
        yield take(everything, parallel.replicate(order[step], mesh))


def _load_all(pairs: Pairs) -> dict[str, np.ndarray]:
    with futures.ThreadPoolExecutor(16) as pool:
        examples = pool.map(pairs.__getitem__, range(len(pairs)))
        return _stack(tqdm(examples, total=len(pairs), desc="load", unit="pair", leave=False, dynamic_ncols=True))


def _host_batches(pairs: Pairs, order: ExampleOrder, mesh: Mesh, start: int) -> Iterator[Batch]:
    local = grain.MapDataset.source(order).map(lambda indices: load_batch(pairs, parallel.local_slice(indices, mesh)))
    for batch in local[start:].to_iter_dataset(grain.ReadOptions(num_threads=8, prefetch_buffer_size=16)):
        yield parallel.from_local(batch, mesh)


def _count_from(start: int) -> Iterator[int]:
    while True:
        yield start
        start += 1
