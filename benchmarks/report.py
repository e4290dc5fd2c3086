"""What every benchmark prints: the machine, a table of systems that took turns, ratios, and as the last line JSON."""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import alternate
import floor
import jax
import machine

OURS = "pix2pix_jax"


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """What is timed.

    Attributes:
      turn: of `alternate.measure`.
      precision: of products and convolutions, in words; its first word is a dtype.
      how: what else distinguishes it.
    """

    turn: alternate.Turn
    precision: str
    how: str = ""

    @property
    def dtype(self) -> str:
        return self.precision.split(",")[0]


def parser(about: str, *, against: Sequence[str] = ("torch",)) -> argparse.ArgumentParser:
    """With the flags that benchmarks share; what it does not know are overrides of the config."""
    made = argparse.ArgumentParser(description=about.splitlines()[0], allow_abbrev=False)
    made.add_argument("--against", default="", metavar="|".join(against), help="several: separated by commas")
    made.add_argument("--config", default="default", help="fields: --config.FIELD=VALUE")
    made.add_argument("--rounds", type=int, default=5, help="turns of each system")
    return made


def parse(
    made: argparse.ArgumentParser, *, against: Sequence[str] = ("torch",)
) -> tuple[argparse.Namespace, list[str]]:
    """(flags, overrides of the config); `against` becomes the list of what was asked for."""
    arguments, overrides = made.parse_known_args()
    arguments.against = [name for name in arguments.against.split(",") if name]
    for name in arguments.against:
        if name not in against:
            made.error(f"--against={name}: must be of {', '.join(against)}")
    for flag in overrides:
        if not flag.startswith("--config."):
            made.error(f"{flag}: not a flag; overrides are written --config.FIELD=VALUE")
    if arguments.against:  # JAX would take three quarters of a GPU's memory at once, and leave PyTorch the rest
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    return arguments, overrides


def attempt(name: str, make: Callable[[], Any], left_out: dict[str, str]) -> Any:
    """What `make` returns; where it fails, None, with the reason in `left_out` and on stderr: others can be timed."""
    try:
        return make()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        left_out[name] = reason
        print(f"left out: {name} ({reason})", file=sys.stderr)
        return None


def compare(
    ours: Callable[[], System],
    others: Mapping[str, Callable[[], System]],
    *,
    rounds: int,
    seconds: float,
    images: int,
    gflop: float,
) -> dict[str, Any]:
    """Lets systems take turns, ours first, beside products of matrices in each of their dtypes; prints a table.

    Args:
      ours: makes our system.
      others: make those that it is compared with; what fails is left out.
      rounds: turns of each.
      seconds: about how long a turn takes.
      images: that a call handles.
      gflop: of a call.
    """
    left_out: dict[str, str] = {}
    systems = {OURS: ours()}
    for name, make in others.items():
        if made := attempt(name, lambda make=make: _warm(make()), left_out):
            systems[name] = made
    turns = {name: system.turn for name, system in systems.items()}
    dtypes = list(dict.fromkeys(system.dtype for system in systems.values()))
    products = {f"product, {dtype}": floor.product(dtype, side=floor.side()) for dtype in dtypes}
    times = alternate.measure({**turns, **products}, rounds=rounds, seconds=seconds)
    ceilings = {d: 2e-6 * floor.side() ** 3 / _median(times.milliseconds[f"product, {d}"]) for d in dtypes}
    rows = {}
    for name, system in systems.items():
        rows[name] = _row(times.milliseconds[name], images=images, gflop=gflop, ceiling=ceilings[system.dtype])
        rows[name] |= {"precision": system.precision, "how": system.how}
    _print(rows, ceilings, times.others, gflop)
    ratios = {name: rows[OURS]["ms"] / row["ms"] for name, row in rows.items() if name != OURS}
    print_ratios(ratios)
    return {
        "systems": rows,
        "ratios": ratios,
        "ceiling_gflop_per_s": ceilings,
        "gflop": gflop,
        "images": images,
        "others": times.others,
        "left_out": left_out,
    }


def _warm(system: System) -> System:
    system.turn(2)
    return system


def _median(values: list[float]) -> float:
    return alternate.quartiles(values)[1]


def _row(milliseconds: list[float], *, images: int, gflop: float, ceiling: float) -> dict[str, Any]:
    low, median, high = alternate.quartiles(milliseconds)
    rate = 1e3 * gflop / median
    return {
        "ms": median,
        "low": low,
        "high": high,
        "images_per_s": 1e3 * images / median,
        "gflop_per_s": rate,
        "share_of_ceiling": rate / ceiling,
    }


def _print(rows: dict[str, dict], ceilings: dict[str, float], others: float, gflop: float) -> None:
    width = max(map(len, rows))
    for name, row in rows.items():
        print(
            f"{name:{width}}  {show_ms(row['ms'])} ({show_ms(row['low'])} to {show_ms(row['high'])}), "
            f"{row['images_per_s']:.3g} images/s, {row['gflop_per_s']:.0f} GFLOP/s, {row['share_of_ceiling']:.0%} of "
            f"the ceiling; {row['precision']}{'; ' if row['how'] else ''}{row['how']}"
        )
    for dtype, ceiling in ceilings.items():
        print(
            f"ceiling: products of {dtype} matrices reach {ceiling:.0f} GFLOP/s, so {gflop:.1f} GFLOP take "
            f"{show_ms(1e3 * gflop / ceiling)} at least"
        )
    print_others(others)


def print_others(others: float) -> None:
    print(f"other programs took {others:.0%} of the processor meanwhile")


def print_ratios(ratios: dict[str, float]) -> None:
    for name, ratio in ratios.items():
        print(f"ratio: {ratio:.2f} x the time of {name}, which is {1 / ratio:.2f} x its speed")


def show_ms(value: float) -> str:
    return f"{value:.0f} ms" if value >= 1000 else f"{value:.3g} ms"


def begin(found: dict[str, Any], case: str) -> None:
    print(machine.describe(found))
    print(case, flush=True)


def describe(config) -> str:
    height, width = config.image_size
    return (
        f"{height}x{width}, batch {config.batch_size}, features {config.generator.features} and "
        f"{config.discriminator.features}, {config.compute_dtype} on {jax.default_backend()}"
    )


def finish(benchmark: str, found: dict[str, Any], result: dict[str, Any]) -> None:
    """The last line."""
    print(json.dumps({"benchmark": benchmark, "machine": found, **result}))
