"""Measures pairs a second of the host's input pipeline, beside a PyTorch DataLoader that does the same.

    python benchmarks/input.py                                  # of embedded pairs, written to files first
    python benchmarks/input.py --data_dir=DIR --against=torch   # DIR/train: A|B images, as of the published facades

The work on a pair: read the file, decode, cut in halves, resize both (bicubic, 286), crop 256, mirror, float32 in
[-1, 1]. Of pix2pix_jax the last three are the train step's; `complete` does them on the CPU all the same. Pairs a
second and core are pairs over the CPU time of this process and its workers, which other users of the machine disturb
less than the clock. Prints a table and, as the last line, JSON.
"""

import argparse
import dataclasses
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterator

import alternate
import drawn
import jax
import machine
import numpy as np
import psutil
import report

from pix2pix_jax.data import augment, device_resizing, reading
from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.data.sources.datasets import open_source

LOAD, CROP, BATCH = (286, 286), (256, 256), 4


def open_pairs(folder: str) -> PairedDataset:
    return PairedDataset(open_source("folder", "train", data_dir=folder, size=LOAD, seed=0), "AtoB", LOAD)


def read(pairs: PairedDataset, *, workers: int, on_device: bool = False) -> Iterator[dict]:
    """Yields batches on the host; `on_device` leaves the resizing to the device."""
    if on_device:
        pairs = dataclasses.replace(pairs, own_size=device_resizing.shared_size(pairs))
    order = reading.ExampleOrder(len(pairs), BATCH, seed=0)
    reading._cache_limit = lambda: 0  # every epoch is as the first
    return reading.read_steps(pairs, order, np.arange(BATCH), start=0, num_workers=workers)


def complete(batches: Iterator[dict]) -> Iterator[dict]:
    """Adds the train step's part of the work, on the CPU."""
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
    """Returns (pairs a second, pairs a second of CPU time), after what was read ahead."""
    for _ in range(24):
        next(batches)
    count, cpu, begin = 0, cpu_seconds(), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        next(batches)
        count += BATCH
    result = count / (time.perf_counter() - begin), count / (cpu_seconds() - cpu)
    time.sleep(1)  # readers fill their buffers and stop
    return result


def make_systems(folder: str, arguments: argparse.Namespace) -> dict[str, Callable[[], Iterator]]:
    pairs = open_pairs(folder)
    found = {
        "threads, complete": lambda: complete(read(pairs, workers=0)),
        "threads, resize on host": lambda: read(pairs, workers=0),
        "threads, resize on device": lambda: read(pairs, workers=0, on_device=True),
    }
    with_processes = arguments.workers if importlib.util.find_spec("grain") else []
    for workers in with_processes:
        found[f"{workers} processes, resize on host"] = lambda n=workers: read(pairs, workers=n)
        found[f"{workers} processes, resize on device"] = lambda n=workers: read(pairs, workers=n, on_device=True)
    if arguments.against:
        for workers in (0, *arguments.workers):
            found[f"torch, {workers} workers"] = lambda n=workers: torch_batches(folder, workers=n)
    return found


def summarise(results: dict[str, list[tuple[float, float]]]) -> dict[str, dict[str, float]]:
    """Prints a line for each system: medians and quartiles."""
    summary = {}
    for name, turns in results.items():
        clock, core = (alternate.quartiles(list(values)) for values in zip(*turns, strict=True))
        summary[name] = {"per_s": clock[1], "per_core_s": core[1], "low": core[0], "high": core[2]}
        print(
            f"{name:34} {clock[1]:7.0f} ({clock[0]:.0f} to {clock[2]:.0f}) pairs/s, "
            f"{core[1]:7.0f} ({core[0]:.0f} to {core[2]:.0f}) a core"
        )
    return summary


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default="")
    parser.add_argument("--against", default="", choices=("", "torch"))
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="processes (default: 1 2)")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=2, help="a turn")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    found = machine.facts("pillow", "grain", *filter(None, [arguments.against]))
    report.begin(found, f"input, {LOAD[0]}x{LOAD[1]} cropped to {CROP[0]}x{CROP[1]}, batch {BATCH}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.data_dir or drawn.write(f"{scratch}/drawn", size=CROP, count=100)
        running = {name: make() for name, make in make_systems(folder, arguments).items()}
        results: dict[str, list] = {name: [] for name in running}
        for _ in range(arguments.rounds):
            for name, batches in running.items():
                results[name].append(turn(batches, arguments.seconds))
        for batches in running.values():  # readers end before their files do
            batches.close()
    summary = summarise(results)
    if arguments.against:
        best = max(value["per_core_s"] for name, value in summary.items() if name.startswith("torch"))
        for name, value in summary.items():
            value["ratio"] = value["per_core_s"] / best
            print(f"{name:34} {value['ratio']:.2f} x the best of torch a core")
    report.finish("input", found, {"systems": summary, "load_average": os.getloadavg()})


if __name__ == "__main__":
    main()
