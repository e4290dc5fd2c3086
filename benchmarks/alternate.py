"""Times of systems that do the same work, taken in turns."""

import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Mapping

import psutil


@dataclasses.dataclass(frozen=True)
class Times:
    """What was measured.

    Attributes:
      milliseconds: system -> those of each call.
      others: the share of the processor's time, 0 to 1, that other programs (and other virtual machines, where they are
        counted) took meanwhile. Threads that wait for each other suffer out of proportion: at 0.3 and more PyTorch was
        seen to take 20 times as long as alone, so figures are worth something near 0.
    """

    milliseconds: dict[str, list[float]]
    others: float


def measure(systems: Mapping[str, Callable[[], object]], *, rounds: int, steps: int) -> Times:
    """Lets systems take turns, so that a slow spell of the machine meets all of them.

    Args:
      systems: name -> what returns once its work is done; called twice before anything is counted.
      rounds: turns of each.
      steps: calls a turn.
    """
    times: dict[str, list[float]] = {name: [] for name in systems}
    for run in systems.values():
        run(), run()
    begin, busy, own = time.perf_counter(), _busy_seconds(), time.process_time()
    for _ in range(rounds):
        for name, run in systems.items():
            for _ in range(steps):
                start = time.perf_counter()
                run()
                times[name].append(1e3 * (time.perf_counter() - start))
    foreign = (_busy_seconds() - busy) - (time.process_time() - own)
    capacity = (time.perf_counter() - begin) * (os.cpu_count() or 1)
    return Times(times, min(1.0, max(0.0, foreign / capacity)))


def _busy_seconds() -> float:
    """Of all cores, since the machine started."""
    counted = psutil.cpu_times()._asdict()
    return sum(counted.get(name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))


def quartiles(times: list[float]) -> tuple[float, float, float]:
    """(lower quartile, median, upper quartile) of at least two."""
    low, median, high = statistics.quantiles(times, n=4)
    return low, median, high
