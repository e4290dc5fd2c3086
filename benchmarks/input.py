"""Pairs a second of the host's input pipeline, beside a PyTorch DataLoader that does the same, and time spent waiting.

    python benchmarks/input.py --data_dir=DIR                   # a folder of A|B images with train/, as facades
    python benchmarks/input.py --data_dir=DIR --against=torch   # systems take turns (pip install torch)

The work on a pair: read the file, decode, cut in halves, resize both (bicubic, 286), crop 256, mirror, float32 in
[-1, 1]. Of pix2pix_jax the last three are the train step's; `complete` does them on the CPU all the same. Pairs a
second and core are pairs over the CPU time of this process and its workers, which other users of the machine disturb
less than the clock. Prints a table and, as the last line, JSON.
"""

import argparse
import collections
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
import PIL
import psutil

from pix2pix_jax import parallel
from pix2pix_jax.data import augment, pipeline, reading
from pix2pix_jax.data.pairs import Pairs
from pix2pix_jax.data.sources import open_source

LOAD, CROP, BATCH = (286, 286), (256, 256), 4


def open_pairs(folder: str) -> Pairs:
    return Pairs(open_source("folder", "train", data_dir=folder, size=LOAD, seed=0), "AtoB", LOAD)


def read(pairs: Pairs, *, workers: int, on_device: bool = False, kept: bool = False) -> Iterator[dict]:
    """Batches on the host; `on_device` leaves the resizing to the device, `kept` begins with all in the cache."""
    read_one = pairs.decode if on_device else pairs.__getitem__
    order = reading.ExampleOrder(len(pairs), BATCH, seed=0)
    if kept:
        cache = reading.Cache(read_one, 2**40)
        for index in range(len(pairs)):
            cache(index)
        loader = reading.StepLoader(pairs, order, np.arange(BATCH), cache)
        return (loader(step) for step in itertools.count())
    reading._cache_limit = lambda: 0  # every epoch is as the first
    own_size = pipeline.shared_size(pairs) if on_device else None
    return reading.read_steps(pairs, order, np.arange(BATCH), start=0, num_workers=workers, own_size=own_size)


def complete(batches: Iterator[dict]) -> Iterator[dict]:
    """With the train step's part of the work, on the CPU."""
    move = jax.jit(lambda batch, key: augment.crop_and_mirror(batch, key, size=CROP, mirror=True))
    for step, batch in enumerate(batches):
        yield jax.block_until_ready(move(batch, jax.random.key(step)))


def torch_batches(folder: str, *, workers: int) -> Iterator:
    import torch
    from torch_input import make_loader

    torch.set_num_threads(1)  # as in its workers; several threads would spin on arrays this small

    options = {"batch_size": BATCH, "num_workers": workers, "tuned": True, "beside_jax": True}
    loader = make_loader(os.path.join(folder, "train"), load=LOAD, crop=CROP, **options)
    while True:
        yield from loader


def cpu_seconds() -> float:
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def turn(batches: Iterator, seconds: float) -> tuple[float, float]:
    """(pairs a second, pairs a second of CPU time), after what was read ahead."""
    for _ in range(24):
        next(batches)
    count, cpu, begin = 0, cpu_seconds(), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        next(batches)
        count += BATCH
    result = count / (time.perf_counter() - begin), count / (cpu_seconds() - cpu)
    time.sleep(1)  # readers fill their buffers and stop
    return result


def waiting(pairs: Pairs, step_seconds: float, steps: int = 100) -> float:
    """The share of its time that a device with steps of a given length is idle for want of streamed pairs.

    As in the training loop, the host hands in a step as soon as its batch is there, at most two steps ahead.
    """
    batches = pipeline.batches(pairs, parallel.make_mesh(batch_size=1), batch_size=1, seed=0, residency="host")
    jax.block_until_ready(next(batches))  # part of the start
    begin = busy_until = time.perf_counter()
    ends, idle = collections.deque([begin] * 2), 0.0
    for _ in range(steps):
        jax.block_until_ready(next(batches))
        now = time.perf_counter()
        idle += max(0.0, now - busy_until)
        busy_until = max(now, busy_until) + step_seconds
        ends.append(busy_until)
        time.sleep(max(0.0, ends.popleft() - time.perf_counter()))
    batches.close()
    return idle / (busy_until - begin)


def make_systems(folder: str, arguments: argparse.Namespace) -> dict[str, Callable[[], Iterator]]:
    pairs = open_pairs(folder)
    found = {
        "threads, complete": lambda: complete(read(pairs, workers=0)),
        "threads, resize on host": lambda: read(pairs, workers=0),
        "threads, resize on device": lambda: read(pairs, workers=0, on_device=True),
    }
    for workers in arguments.workers:
        found[f"{workers} processes, resize on host"] = lambda n=workers: read(pairs, workers=n)
        found[f"{workers} processes, resize on device"] = lambda n=workers: read(pairs, workers=n, on_device=True)
    found["kept in memory"] = lambda: read(pairs, workers=0, kept=True)
    if arguments.against:
        for workers in (0, *arguments.workers):
            found[f"torch, {workers} workers"] = lambda n=workers: torch_batches(folder, workers=n)
    return found


def report(results: dict[str, list[tuple[float, float]]]) -> dict[str, dict[str, float]]:
    summary = {}
    for name, turns in results.items():
        clock, core = (sorted(values) for values in zip(*turns, strict=True))
        summary[name] = {"per_s": statistics.median(clock), "per_core_s": statistics.median(core)}
        print(
            f"{name:34} {summary[name]['per_s']:7.0f} ({clock[0]:.0f} to {clock[-1]:.0f}) pairs/s, "
            f"{summary[name]['per_core_s']:7.0f} ({core[0]:.0f} to {core[-1]:.0f}) a core"
        )
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--against", choices=("torch",))
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=2, help="a turn")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} CPU cores ({platform.machine()}), jax {jax.__version__}, Pillow {PIL.__version__}")
    makers = make_systems(arguments.data_dir, arguments)
    shares = {f"{ms} ms": waiting(open_pairs(arguments.data_dir), ms / 1e3) for ms in (15, 50, 200)}
    for step, share in shares.items():
        print(f"waiting for data, steps of {step}: {share:.1%}")
    running = {name: make() for name, make in makers.items()}
    results: dict[str, list] = {name: [] for name in running}
    for _ in range(arguments.rounds):
        for name, batches in running.items():
            results[name].append(turn(batches, arguments.seconds))
    summary = report(results)
    if arguments.against:
        best = max(value["per_core_s"] for name, value in summary.items() if name.startswith("torch"))
        for name in summary:
            summary[name]["ratio"] = summary[name]["per_core_s"] / best
            print(f"{name:34} {summary[name]['ratio']:.2f} x the best of torch a core")
    print(json.dumps({"systems": summary, "waiting": shares, "load_average": os.getloadavg()}))


if __name__ == "__main__":
    main()
