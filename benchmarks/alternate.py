"""Times of systems that do the same work, taken in turns."""

import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Mapping

import psutil

Turn = Callable[[int], object]  # makes so many calls, as a loop would, and returns once the work of all is done


@dataclasses.dataclass(frozen=True)
class Times:
    """Holds what was measured.

    Attributes:
      milliseconds: system -> for each turn, the mean milliseconds of a call.
      others: the share of the processor's time, 0 to 1, that other programs (and other virtual machines, where they are
        counted) took meanwhile. Threads that wait for each other suffer out of proportion: at 0.3 and more PyTorch was
        seen to take 20 times as long as alone, so figures are worth something near 0.
    """

    milliseconds: dict[str, list[float]]
    others: float


def measure(systems: Mapping[str, Turn], *, rounds: int, seconds: float) -> Times:
    """Lets systems take turns, so that a slow spell of the machine meets all of them.

    Args:
      systems: by name. The calls of a turn may overlap; a turn begins when the one before is done.
      rounds: turns of each.
      seconds: about how long a turn takes; it has two calls at least.
    """
    calls = {name: _calls(turn, seconds) for name, turn in systems.items()}
    times: dict[str, list[float]] = {name: [] for name in systems}
    begin, busy, own = time.perf_counter(), _busy_seconds(), time.process_time()
    for _ in range(rounds):
        for name, turn in systems.items():
            times[name].append(_time(turn, calls[name]))
    foreign = (_busy_seconds() - busy) - (time.process_time() - own)
    capacity = (time.perf_counter() - begin) * (os.cpu_count() or 1)
    return Times(times, min(1.0, max(0.0, foreign / capacity)))


def one_by_one(run: Callable[[], object]) -> Turn:
    """Makes a turn of a call that returns once its work is done."""

    def turn(calls: int) -> None:
        for _ in range(calls):
            run()

    return turn


def _calls(turn: Turn, seconds: float) -> int:
    """Returns how many calls take that many seconds; warms up first, as first calls are slow."""
    turn(2)
    calls = 2
    for _ in range(2):
        calls = max(2, min(100_000, round(1e3 * seconds / _time(turn, min(calls, 50)))))
    return calls


def _time(turn: Turn, calls: int) -> float:
    """Runs a turn; returns the milliseconds of a call."""
    start = time.perf_counter()
    turn(calls)
    return 1e3 * (time.perf_counter() - start) / calls


def _busy_seconds() -> float:
    """Returns the busy seconds of all cores since the machine started."""
    counted = psutil.cpu_times()._asdict()
    return sum(counted.get(name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))


def quartiles(times: list[float]) -> tuple[float, float, float]:
    """(lower quartile, median, upper quartile); of one time, that time."""
    if len(times) == 1:
        return times[0], times[0], times[0]
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return low, median, high
