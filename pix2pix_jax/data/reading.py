"""Orders the examples of steps and reads them ahead on the host. The only module that imports grain.

Grain runs the worker processes; for threads of this process an executor is enough.

Example order is a fresh permutation of the split every epoch, a pure function of (seed, position); step s holds the
positions s * batch_size to (s + 1) * batch_size - 1. So the step alone is the position in the data.
"""

import collections
import contextlib
import dataclasses
import functools
import itertools
import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent import futures
from multiprocessing import resource_tracker
from typing import Any

import jax
import numpy as np
import psutil
from absl import flags
from etils import epy

from pix2pix_jax.data.paired_dataset import Example, PairedDataset

with epy.lazy_imports():  # takes a second, and few runs have worker processes
    import grain

_MAX_STEP = 2**31 - 1  # steps are int32
_AHEAD = 16  # batches that are read before they are asked for


@dataclasses.dataclass(frozen=True)
class ExampleOrder:
    """order[s]: the example indices, int32 (batch_size,), of step s. Batches run on across the ends of epochs."""

    num_examples: int
    batch_size: int
    seed: int

    def __getitem__(self, step: int) -> np.ndarray:
        return self.at(self.positions(step))

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Returns the example indices, int32 (n,), at these positions in the run."""
        epochs = [_permutation(self.num_examples, self.seed, int(p)) for p in positions // self.num_examples]
        return np.array([e[p] for e, p in zip(epochs, positions % self.num_examples, strict=True)], np.int32)

    def positions(self, step: int) -> np.ndarray:
        """Returns the positions in the run of a step's examples, int64 (batch_size,)."""
        return np.arange(step * self.batch_size, (step + 1) * self.batch_size)


@functools.lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    # RandomState, because NumPy promises that its draws never change from version to version.
    bits = np.random.MT19937(np.random.SeedSequence([seed, epoch]))
    return np.random.RandomState(bits).permutation(count)


def stack(examples: Iterable[Example]) -> Example:
    """Stacks the images (H, W, C) of examples to (N, H, W, C) by name."""
    examples = list(examples)
    return {name: np.stack([e[name] for e in examples]) for name in examples[0]}


def load_step(
    step: int, *, pairs: PairedDataset, order: ExampleOrder, slots: np.ndarray, read: Callable[[int], Example]
) -> Example:
    """Reads the examples at the places `slots`, int (n,), of a step's batch by `read(index)`, and stacks them."""
    indices, positions = order[step][slots], order.positions(step)[slots]
    examples = [read(int(index)) for index in indices]
    return stack(pairs.finish(examples, indices=indices, seed=order.seed, positions=positions))


class Cache:
    """Keeps examples that `read` returns in host memory, up to `limit` bytes. Threads may share it."""

    def __init__(self, read: Callable[[int], Example], limit: int):
        self._read, self._left = read, limit
        self._kept: dict[int, Example] = {}

    def __call__(self, index: int) -> Example:
        if index in self._kept:
            return self._kept[index]
        example = self._read(index)
        size = sum(image.nbytes for image in example.values())
        if size <= self._left:  # two threads at once may decode an example twice, which does no harm
            self._left -= size
            self._kept[index] = example
        return example


def choose_workers(pairs: PairedDataset, setting: int = -1) -> int:
    """Chooses how many worker processes read; 0 means threads of this process.

    The setting -1 chooses threads where the split fits in the `Cache`, which processes could not share, or where there
    are at most two cores. Otherwise it chooses one process for every core but one.
    """
    if setting >= 0:
        return setting
    return 0 if pairs.num_bytes <= _cache_limit() or _num_cores() <= 2 else _num_cores() - 1


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _cache_limit() -> int:
    return psutil.virtual_memory().available // 4


def read_steps(
    pairs: PairedDataset, order: ExampleOrder, slots: np.ndarray, *, start: int, num_workers: int
) -> Generator[Example]:
    """Yields this process's shares of the batches of steps start, start + 1, ..., read ahead. Close it after use."""
    read = pairs.__getitem__ if num_workers else Cache(pairs.__getitem__, _cache_limit())
    load = functools.partial(load_step, pairs=pairs, order=order, slots=slots, read=read)
    if not num_workers:
        calls = (functools.partial(load, step) for step in itertools.count(start))
        return prefetch(calls, ahead=_AHEAD, threads=min(8, os.cpu_count() + 1))
    if not flags.FLAGS.is_parsed():  # grain reads its flags to hand them to the workers
        flags.FLAGS.mark_as_parsed()
    steps = grain.MapDataset.range(start, _MAX_STEP).map(load)
    alone = steps.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    ahead = max(1, _AHEAD // num_workers)
    options = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=ahead)
    return _without_interrupts(alone.mp_prefetch(options, worker_init_fn=_start_worker))


def _without_interrupts(examples: Iterable[Example]) -> Generator[Example]:
    """Yields the examples of worker processes that Ctrl-C does not reach, not even while they start up.

    A process inherits the signals that the thread which starts it has blocked. Our own Ctrl-C comes to another thread.
    """
    with _interrupts_blocked():
        iterator = iter(examples)
    try:
        while True:
            with _interrupts_blocked():
                example = next(iterator)
            yield example
    finally:
        iterator.close()


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    resource_tracker.ensure_running()  # started later, it would unblock SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def prefetch(calls: Iterable[Callable[[], Any]], *, ahead: int, threads: int) -> Generator[Any]:
    """Yields the results of `calls` in order. Threads run up to `ahead` of them before they are asked for."""
    calls = iter(calls)
    with futures.ThreadPoolExecutor(threads) as pool:
        waiting = collections.deque(pool.submit(call) for call in itertools.islice(calls, ahead))
        try:
            while waiting:
                waiting.extend(pool.submit(call) for call in itertools.islice(calls, 1))
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker(index: int, count: int) -> None:
    """Makes a worker ignore Ctrl-C, as the run still wants batches, and use no accelerator."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jax.config.update("jax_platforms", "cpu")
