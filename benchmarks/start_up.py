"""Measures the seconds from the start of `pix2pix train` to its first finished step, with nothing compiled and again.

    python benchmarks/start_up.py                                      # over embedded pairs, written to files first
    python benchmarks/start_up.py --data_dir=FOLDER --against=torch    # FOLDER/train: A|B images

Starts the program itself, first with an empty compilation cache, then with the one that the first start has filled,
taking turns with PyTorch's loop (torch_loop.py). The parts of a start are told by the lines that the program prints,
and its first step by metrics.jsonl, to which a step's losses come when two more steps are under way. Prints a table
and, as the last line, JSON.
"""

import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import drawn
import loop
import machine
import report

from pix2pix_jax import configuration as config_lib

ENVIRONMENT = dict(os.environ)  # before our flags change it
# The parts of a start, each with the beginning of the line that ends it.
PARTS = {
    "imports, data, state": "starting from step",
    "reading and compiling": "compiled the train step",
}
FIRST_STEP = "first step"


def start(flags: list[str], cache: str) -> dict[str, float]:
    """Runs the program; returns part -> seconds, and their "total". Raises RuntimeError if it fails."""
    environment = {**ENVIRONMENT, "JAX_COMPILATION_CACHE_DIR": cache, "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryDirectory() as place, open(f"{place}/errors", "w+") as errors:
        command = [sys.executable, "-m", "pix2pix_jax", "train", *flags, f"--workdir={place}/run"]
        begin = time.time()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as process:
            seen = [(time.time(), line) for line in process.stdout]
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"exit code {process.returncode}: {errors.read()[-300:]}")
        lines = map(json.loads, pathlib.Path(place, "run", "metrics.jsonl").read_text().splitlines())
        first_step = next(line["time"] for line in lines if line["step"] == 1)
    ends = {part: next((now for now, line in seen if line.startswith(prefix)), None) for part, prefix in PARTS.items()}
    parts, last = {}, begin
    for part, end in {**ends, FIRST_STEP: first_step}.items():
        if end is not None:  # the step, compiled beside the rest, may be ready before "starting from step" is said
            parts[part], last = max(end - last, 0), max(end, last)
    return {**parts, "total": first_step - begin}


def start_torch(config, folder: str, tuning: dict | None) -> dict[str, float]:
    begin = time.time()
    return {"total": loop.run_torch(config, folder, seconds=0, tuning=tuning)["first_step"] - begin}


def summarise(name: str, starts: list[dict[str, float]]) -> dict[str, float]:
    """Prints a line and returns the median of each part."""
    found = {part: statistics.median(one[part] for one in starts) for part in starts[0]}
    totals = sorted(one["total"] for one in starts)
    parts = ", ".join(f"{part} {seconds:.1f}" for part, seconds in found.items() if part != "total")
    print(f"{name:24} {found['total']:.1f} s ({totals[0]:.1f} to {totals[-1]:.1f}){': ' if parts else ''}{parts}")
    return found


def ratios(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    """Prints and returns our starts as multiples of PyTorch's, if that had turns."""
    if "torch" not in rows:
        return {}
    found = {"first": rows["nothing compiled"]["total"], "again": rows[report.OURS]["total"]}
    found = {which: seconds / rows["torch"]["total"] for which, seconds in found.items()}
    for which, ratio in found.items():
        print(f"ratio: {which} {ratio:.2f} x the time of torch")
    return found


def main() -> None:
    parser = report.parser(__doc__)
    parser.set_defaults(config="facades", rounds=3)
    drawn.add_flags(parser)
    arguments, overrides = report.parse(parser)
    found, left_out = machine.ask(*arguments.against), {}
    config = config_lib.load(arguments.config, overrides)
    report.begin(found, f"start to first step, {config.compute_dtype}, batch {config.batch_size}, {config.image_size}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = drawn.folder(arguments, scratch, config.image_size)
        flags = [f"--config={arguments.config}", f"--config.data_dir={folder}", *overrides]
        flags += ["--config.num_steps=3", "--config.log_every_steps=1", "--config.eval_every_steps=0"]
        systems = {report.OURS: functools.partial(start, flags, f"{scratch}/xla")}
        if "torch" in arguments.against:
            systems["torch"] = functools.partial(start_torch, config, folder, None)
            if tuning := report.attempt("torch tuned", lambda: loop.choose_tuning(config), left_out):
                systems["torch tuned"] = functools.partial(start_torch, config, folder, tuning)
        first = systems[report.OURS]()
        starts: dict[str, list] = {name: [] for name in systems}
        for _ in range(arguments.rounds):
            for name, system in systems.items():
                if name not in left_out and (one := report.attempt(name, system, left_out)):
                    starts[name].append(one)
    rows: dict[str, Any] = {"nothing compiled": summarise(f"{report.OURS}, first", [first])}
    rows |= {name: summarise(name, found) for name, found in starts.items() if found}
    case = {"config": arguments.config, "overrides": overrides}
    report.finish("start_up", found, {**case, "seconds": rows, "ratios": ratios(rows), "left_out": left_out})


if __name__ == "__main__":
    main()
