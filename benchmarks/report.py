"""Times systems in turns, and prints what every benchmark does: the machine, a table, ratios, and JSON at the end."""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import alternate
import floor
import jax
import machine

from pix2pix_jax.configuration import build_data

OURS = "pix2pix_jax"


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """Holds a system to time.

    Attributes:
      turn: makes calls, as in `alternate.measure`.
      precision: the precision of products and convolutions, in words of which the first is a dtype.
      how: what else distinguishes the system, in words.
    """

    turn: alternate.Turn
    precision: str
    how: str = ""

    @property
    def dtype(self) -> str:
        return self.precision.split(",")[0]


def parser(about: str, *, against: Sequence[str] = ("torch",)) -> argparse.ArgumentParser:
    """Makes a parser of the flags that benchmarks share; unknown ones are overrides of the config."""
    made = argparse.ArgumentParser(description=about.splitlines()[0], allow_abbrev=False)
    made.add_argument("--against", default="", metavar="|".join(against), help="several: separated by commas")
    made.add_argument("--config", default="default", help="fields: --config.FIELD=VALUE")
    made.add_argument("--rounds", type=int, default=5, help="turns of each system")
    made.set_defaults(known=against)
    return made


def parse(made: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Returns (flags, overrides of the config); `against` becomes a list of names."""
    arguments, overrides = made.parse_known_args(argv)
    for flag in overrides:
        if not flag.startswith("--config."):
            made.error(f"{flag}: not a flag; overrides are written --config.FIELD=VALUE")
    if not hasattr(arguments, "against"):
        return arguments, overrides
    known = made.get_default("known")
    arguments.against = [name for name in arguments.against.split(",") if name]
    for name in arguments.against:
        if name not in known:
            made.error(f"--against={name}: must be of {', '.join(known)}")
    if arguments.against:  # JAX would take three quarters of a GPU's memory at once, and leave PyTorch the rest
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    return arguments, overrides


def attempt(name: str, make: Callable[[], Any], left_out: dict[str, str]) -> Any:
    """Returns what `make` makes; if it fails, None, with the reason in `left_out` and on stderr."""
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
      others: name -> makes a system to compare with; those that fail are left out.
      rounds: number of turns of each system.
      seconds: about how long a turn takes.
      images: number of images in a call.
      gflop: 1e9 floating-point operations in a call.
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
    ratios = {name: row["ms"] / rows[OURS]["ms"] for name, row in rows.items() if name != OURS}
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


def torch_systems(config, make: Callable[[dict[str, int], Any], System], what: str = "train") -> dict[str, Callable]:
    """Returns the two PyTorch systems that every benchmark compares with, "torch" and "torch tuned", not yet made.

    Args:
      config: a checked ConfigDict, whose networks and batches PyTorch gets too.
      make: makes a system of the networks' arguments and a `torch_recipe.Tuning`.
      what: the program to tune, of `torch_recipe.WHAT`.
    """

    def system(tuned: bool) -> System:
        import torch_recipe

        case = torch_case(config)
        if not tuned:
            return make(case, torch_recipe.AS_USERS_RUN)
        return make(case, torch_recipe.choose(**case, batch=config.batch_size, size=config.image_size, what=what))

    return {"torch": lambda: system(False), "torch tuned": lambda: system(True)}


def torch_case(config) -> dict[str, int]:
    """Returns the arguments of torch_recipe.py's networks."""
    return {"num_downs": build_data.num_downs(config), "features": config.generator.features}


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
    print(f"other programs took {others:.0%} of the processor meanwhile")


def print_ratios(ratios: dict[str, float]) -> None:
    """Prints our speed as a multiple of each other system's."""
    for name, ratio in ratios.items():
        print(f"ratio: {ratio:.2f} x the speed of {name}")


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
    """Prints the last line."""
    print(json.dumps({"benchmark": benchmark, "machine": found, **result}))


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ("---",) * len(header), *rows))


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """Reads a file of one JSON object a line; none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_case(command: Sequence[str], path: pathlib.Path) -> None:
    """Runs a case in a process of its own, as compilers keep memory, and appends its last line to `path`."""
    process = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: failed")
    *table, line = process.stdout.splitlines()
    with path.open("a") as file:
        file.write(line + "\n")
    print("\n".join(table), flush=True)
