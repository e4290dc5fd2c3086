"""Measures FLOPs, memory and time of a train step by image size, batch, features and what saves memory.

    python benchmarks/sizes.py --config.image_size=512,512 --config.resize_size=572,572    # any config, any field
    python benchmarks/sizes.py --time=2 --config.batch_size=8    # runs the step too, for about 3 x 2 seconds
    python benchmarks/sizes.py --suite                 # the cases of docs/memory.md that benchmarks/sizes.jsonl lacks
    python benchmarks/sizes.py --suite --time=2 --json=FILE    # likewise with times, to another file
    python benchmarks/sizes.py --tables --json=FILE    # what is in it, as in docs/memory.md

Memory is what the compiler gives the program on one device: on a GPU or TPU, that of the step that trains. What a CPU
runs has other convolutions, so there a stand-in is compiled that estimates what accelerators need: their plain
convolutions, in the order that saves memory. It would compute bfloat16 in float32; so of bfloat16 the estimate is that
of float32 with half of what is neither state nor gradients (of the default config at batch 32, 1.52 GB beside the
state; XLA's compiler for a TPU v5e answers 1.51, see pods.jsonl). Times are those of the step that trains everywhere.
Cases of the suite run one after the other, a process each; those that are done are kept. The last line of a single case
is JSON.
"""

import argparse
import copy
import json
import math
import pathlib
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import alternate
import bare
import jax
import machine
import report

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.errors import UserError
from pix2pix_jax.runtime import meshes
from pix2pix_jax.training import throughput

RESULTS = pathlib.Path(__file__).with_name("sizes.jsonl")
LIKE_ACCELERATORS = {
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    "xla_backend_optimization_level": 0,  # of machine code that nobody runs; the buffers are the same
}

BATCHES = {64: (1, 64, 256), 128: (1, 16, 64), 256: (1, 8, 32), 512: (1, 4, 16), 1024: (1, 2, 4)}
BFLOAT16, REMAT = "compute_dtype=bfloat16", "remat=True"
SAVINGS = ((), (BFLOAT16,), (REMAT,), (BFLOAT16, REMAT))
CARDS = (8, 16, 24, 40, 80)  # GB
USABLE = 0.6  # of a card's memory: JAX takes three quarters of it, of which a fifth is left to what is not counted


def case(size: int, batch: int, *more: str) -> tuple[str, ...]:
    """Returns the overrides of square images, loaded at 286/256 of their size as in the paper."""
    load = round(size * 286 / 256)
    fields = (f"image_size={size},{size}", f"resize_size={load},{load}", f"batch_size={batch}", *more)
    return tuple(f"--config.{field}" for field in fields)


def suite() -> list[tuple[str, ...]]:
    cases = [case(size, batches[0]) for size, batches in BATCHES.items()]
    cases += [
        case(size, batch, *more) for more in SAVINGS for size, batches in BATCHES.items() for batch in batches[1:]
    ]
    for features in (32, 128):
        cases.append(case(256, 8, f"generator.features={features}", f"discriminator.features={features}"))
    return cases + [case(256, 32, f"accumulate_steps={parts}") for parts in (4, 32)]


def measure(name: str, overrides: Sequence[str], *, seconds: float = 0.0) -> dict[str, Any]:
    """Returns a line of sizes.jsonl: bytes and FLOPs of a step on one device; with `seconds`, its milliseconds too.

    Raises UserError for a config that cannot be used.
    """
    config = config_lib.load(name, overrides)
    device = jax.devices()[0]
    _, state, _ = bare.abstract_case(config, meshes.make_mesh(batch_size=1, devices=[device]))
    trained = (state.generator.params, state.discriminator.params)
    result = {
        "config": name,
        "overrides": list(overrides),
        "device": device.device_kind,
        "estimate": device.platform == "cpu",
        "jax": jax.__version__,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(trained)),
        "state": sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)),
    }
    try:
        result |= _compile(config, device) if device.platform != "cpu" else _estimate(config, device, trained)
        if seconds:
            times = alternate.measure({"step": bare.train_step(config)}, rounds=3, seconds=seconds)
            result |= {"ms": statistics.median(times.milliseconds["step"]), "others": times.others}
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        result["error"] = "out of memory"
    return result


def _compile(config, device: jax.Device, options: Mapping[str, Any] | None = None) -> dict[str, int]:
    """Counts FLOPs, bytes of all that a step holds, and bytes only while it runs (gradients, activations)."""
    traced = bare.trace(config, meshes.make_mesh(batch_size=1, devices=[device]), platform="default")
    held = bare.memory(traced.lower().compile(compiler_options=options))
    return {"flops": throughput.count_flops(traced.jaxpr), "memory": held["memory"], "temporary": held["temporary"]}


def _estimate(config, device: jax.Device, trained: Any) -> dict[str, int]:
    """Estimates on a CPU what `_compile` returns on accelerators; `trained` are the parameters."""
    plain = copy.deepcopy(config)
    plain.compute_dtype = "float32"
    found = _compile(plain, device, LIKE_ACCELERATORS)
    if config.compute_dtype == "bfloat16":
        gradients = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(trained))
        less = max(0, found["temporary"] - gradients) // 2
        found |= {name: found[name] - less for name in ("memory", "temporary")}
    return found


def run_suite(cases: Iterable[Sequence[str]], path: pathlib.Path, *, seconds: float) -> None:
    """Adds to `path` the lines of those cases that it lacks for this device."""
    device = machine.ask()["device"]  # by another process: this one would keep the device from those that measure
    for overrides in cases:
        lines = report.read_lines(path)
        known = [row for row in lines if (row["device"], row["overrides"]) == (device, list(overrides))]
        if not any("ms" in row or "error" in row or not seconds for row in known):
            report.run_case([__file__, f"--time={seconds}", *overrides], path)


def costs_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns as Markdown a line for each case."""
    header = ("images", "batch", "features", "", "parameters", "GFLOP", "state, GB", "beside it, GB", "all, GB", "time")
    return report.markdown(header, map(_costs, rows))


def fits_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns as Markdown the largest batch, a power of two, that cards hold, by the two largest cases of each."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        fields = _fields(row)
        if "memory" in row and fields.keys() <= {"image_size", "resize_size", "batch_size", "compute_dtype", "remat"}:
            found.setdefault((_size(row), _saving(row)), []).append(row)
    lines = []
    for (size, saving), cases in found.items():
        *_, first, last = sorted(cases, key=_batch) if len(cases) > 1 else (None, None)
        if last:
            each = (last["memory"] - first["memory"]) / (_batch(last) - _batch(first))
            most = [_largest(card, last["memory"] - _batch(last) * each, each) for card in CARDS]
            lines.append((size, saving, f"{each / 1e9:.2g}", *most))
    return report.markdown(("images", "", "GB an image", *(f"{card} GB" for card in CARDS)), lines)


def _largest(card: int, base: float, each: float) -> str:
    batch = (USABLE * card * 1e9 - base) / each
    return str(2 ** int(math.log2(batch))) if batch >= 1 else "none"


def _costs(row: Mapping[str, Any]) -> tuple[str, ...]:
    features = _fields(row).get("generator.features", "64")
    about = (_size(row), str(_batch(row)), features, _saving(row), f"{row['parameters'] / 1e6:.1f} M")
    if "memory" not in row:
        return *about, "", "", "", row["error"], ""
    gigabytes = [f"{row[name] / 1e9:.2f}" for name in ("state", "temporary", "memory")]
    time = f"{row['ms']:.3g} ms, {row['flops'] / row['ms'] / 1e9:.3g} TFLOP/s" if "ms" in row else ""
    return *about, f"{row['flops'] / 1e9:.3g}", *gigabytes, time


def _fields(row: Mapping[str, Any]) -> dict[str, str]:
    return dict(override.removeprefix("--config.").split("=", 1) for override in row["overrides"])


def _size(row: Mapping[str, Any]) -> str:
    return _fields(row).get("image_size", "256,256").replace(",", "x")


def _batch(row: Mapping[str, Any]) -> int:
    return int(_fields(row).get("batch_size", 1))


def _saving(row: Mapping[str, Any]) -> str:
    """Describes the fields that are not in the table's other columns."""
    fields = _fields(row)
    for name in ("image_size", "resize_size", "batch_size", "generator.features", "discriminator.features"):
        fields.pop(name, None)
    words = [fields.pop("compute_dtype", "float32"), *(f"{name}={value}" for name, value in fields.items())]
    return ", ".join(words).replace("remat=True", "remat")


def parse() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--config", default="default", help="fields: --config.FIELD=VALUE")
    parser.add_argument("--time", type=float, default=0.0, metavar="SECONDS", help="a turn of three; 0: not measured")
    parser.add_argument("--suite", action="store_true", help="all cases that --json lacks")
    parser.add_argument("--tables", action="store_true", help="of --json; nothing is compiled")
    parser.add_argument("--json", type=pathlib.Path, default=RESULTS, metavar="FILE", help="one line a case")
    return parser.parse_known_args()


def main() -> None:
    arguments, overrides = parse()
    if arguments.suite:
        run_suite(suite(), arguments.json, seconds=arguments.time)
    if arguments.suite or arguments.tables:
        rows = report.read_lines(arguments.json)
        print(costs_table(rows), fits_table(rows), sep="\n\n")
        return
    try:
        row = measure(arguments.config, overrides, seconds=arguments.time)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(costs_table([row]), json.dumps(row), sep="\n")


if __name__ == "__main__":
    main()
