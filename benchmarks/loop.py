"""Measures wall time of a step of `pix2pix train` with real pairs, beside the bare compiled step and PyTorch's loop.

    python benchmarks/loop.py                                    # embedded pairs, written to files first
    python benchmarks/loop.py --data_dir=FOLDER --against=torch  # FOLDER/train: A|B images, as of the published facades
    python benchmarks/loop.py --data_dir=FOLDER --steps=80000 --rounds=1   # the whole recipe: 200 epochs of 400 pairs

What runs is `train.train`: logs, samples, evaluations and checkpoints are written, at the usual periods if there are
steps enough, or else more often. So two times are told: of a step between those, and of a step with its share of them
at the usual periods, "all in". Compilation and start are in neither. PyTorch's loop (torch_loop.py), which writes
nothing, is a process of its own. Systems take turns. Prints a table and, as the last line, JSON.
"""

import argparse
import contextlib
import dataclasses
import functools
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import alternate
import bare
import drawn
import jax
import machine
import report

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.training import train

ms = report.show_ms
USUAL = {"log": 50, "sample": 400, "checkpoint": 4000}  # configs/default.py's periods, in steps


@dataclasses.dataclass(frozen=True)
class Run:
    """Holds the times of a run of the loop, all in milliseconds.

    Attributes:
      plain: a step of each stretch between two log lines with neither samples nor a checkpoint in it.
      sample: what samples take beyond a step, of each such stretch.
      checkpoint: what samples, a checkpoint and an evaluation take.
      whole: everything, from the call to its return.
    """

    plain: list[float]
    sample: list[float]
    checkpoint: list[float]
    whole: float

    @property
    def step(self) -> float:
        return statistics.median(self.plain)

    @property
    def all_in(self) -> float:
        """Returns the time of a step with its share of what is written at the usual periods."""
        saves = 1 / USUAL["checkpoint"]
        samples = 1 / USUAL["sample"] - saves
        return self.step + samples * _mean(self.sample) + saves * self.save

    @property
    def save(self) -> float:
        """Returns the time of the last checkpoint; with the first, the evaluation compiles."""
        return self.checkpoint[-1] if self.checkpoint else 0.0


def _mean(values: list[float]) -> float:
    return statistics.fmean(values) if values else 0.0


def periods(steps: int) -> dict[str, int]:
    """Returns the usual periods, or shorter ones of which a run of so many steps has some each."""
    log = min(USUAL["log"], max(1, steps // 80))
    sample = log * max(2, min(USUAL["sample"], steps // 10) // log)
    return {"log": log, "sample": sample, "checkpoint": sample * max(1, min(USUAL["checkpoint"], steps // 3) // sample)}


def split(times: dict[int, float], wanted: dict[str, int], whole: float) -> Run:
    """Sorts stretches by what is in them: what a step calls for comes after its own log line.

    Args:
      times: step -> the time of its log line, in seconds.
      wanted: the periods, in steps.
      whole: milliseconds of the whole run.
    """
    plain, sample, checkpoint = [], [], []
    stretches = [(a, b, 1e3 * (times[b] - times[a])) for a, b in itertools.pairwise(sorted(times))]
    for a, b, took in stretches:
        if a % wanted["sample"]:
            plain.append(took / (b - a))
    for a, b, took in stretches:
        if a % wanted["sample"] == 0:
            beyond = took - (b - a) * statistics.median(plain)
            (sample if a % wanted["checkpoint"] else checkpoint).append(beyond)
    return Run(plain, sample, checkpoint, whole)


def run_ours(config, wanted: dict[str, int]) -> Run:
    with tempfile.TemporaryDirectory() as workdir, contextlib.redirect_stdout(sys.stderr):
        begin = time.perf_counter()
        train.train(config, workdir)
        whole = 1e3 * (time.perf_counter() - begin)
        lines = map(json.loads, (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines())
        times = {line["step"]: line["time"] for line in lines if "g_l1" in line}
    return split(times, wanted, whole)


def run_torch(config, folder: str, *, seconds: float, tuning: dict | None) -> dict[str, Any]:
    """Runs torch_loop.py and returns its JSON. Raises CalledProcessError."""
    flags = {
        "data_dir": os.path.join(folder, "train"),
        "direction": config.direction,
        "seconds": seconds,
        "batch": config.batch_size,
        **report.torch_case(config),
        "load": ",".join(map(str, config.resize_size)),
        "crop": ",".join(map(str, config.image_size)),
        "tuning": json.dumps(tuning) if tuning else "",
    }
    program = pathlib.Path(__file__).with_name("torch_loop.py")
    command = [sys.executable, str(program), *(f"--{name}={value}" for name, value in flags.items())]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(answer.stdout.splitlines()[-1])


def choose_tuning(config) -> dict[str, bool]:
    import torch_recipe

    case = report.torch_case(config)
    return dataclasses.asdict(torch_recipe.choose(**case, batch=config.batch_size, size=config.image_size))


def take_turns(
    config, folder: str, others: dict[str, Any], *, rounds: int, seconds: float, left_out: dict[str, str]
) -> tuple[list[float], list[Run], dict[str, list]]:
    """Returns (milliseconds of bare steps, runs of the loop, JSON of the others by name)."""
    bare_step, bare_ms, runs = bare.train_step(config), [], []
    answers: dict[str, list] = {name: [] for name in others}
    for _ in range(rounds):
        bare_ms += alternate.measure({"bare": bare_step}, rounds=3, seconds=seconds / 6).milliseconds["bare"]
        runs.append(run_ours(config, periods(config.num_steps)))
        for name, tuning in others.items():
            run = functools.partial(run_torch, config, folder, seconds=seconds, tuning=tuning)
            if name not in left_out and (answer := report.attempt(name, run, left_out)):
                answers[name].append(answer)
    return bare_ms, runs, {name: found for name, found in answers.items() if found}


def summarise_ours(config, bare_ms: list[float], runs: list[Run]) -> dict[str, Any]:
    """Prints our lines of the table."""
    step, all_in = statistics.median(run.step for run in runs), statistics.median(run.all_in for run in runs)
    low, middle, high = map(ms, alternate.quartiles(bare_ms))
    least = statistics.median(bare_ms)
    print(f"bare step            {middle} ({low} to {high}); {bare.precision(config)}")
    low, _, high = map(ms, alternate.quartiles([value for run in runs for value in run.plain]))
    print(f"loop, between events {ms(step)} ({low} to {high}), {step / least - 1:+.1%} over the bare step")
    print(
        f"loop, all in         {ms(all_in)}, {all_in / least - 1:+.1%}; {1e3 * config.batch_size / all_in:.3g} images/s"
    )
    sample = _mean([value for run in runs for value in run.sample])
    checkpoint = _mean([run.save for run in runs])
    print(
        f"samples take {ms(sample)} every {USUAL['sample']} steps; with a checkpoint and an evaluation, "
        f"{ms(checkpoint)} every {USUAL['checkpoint']}"
    )
    whole = statistics.median(run.whole for run in runs) / 1e3
    print(f"the whole run of {config.num_steps} steps, start and compilation included: {whole:.1f} s")
    precision = bare.precision(config)
    return {
        "bare": {"ms": least, "precision": precision},
        report.OURS: {"ms": all_in, "between_events_ms": step, "whole_s": whole, "precision": precision},
        "overhead": {"between_events": step / least - 1, "all_in": all_in / least - 1},
        "events_ms": {"sample": sample, "checkpoint": checkpoint},
    }


def summarise_torch(name: str, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Prints a line, with the mean rather than the median, as epochs begin slowly."""
    times = [value for answer in answers for value in answer["ms"]]
    low, _, high = map(ms, alternate.quartiles(times))
    how = {key: answers[0][key] for key in ("precision", "how")}
    print(f"{name:20} {ms(_mean(times))} ({low} to {high}), nothing written; {how['precision']}; {how['how']}")
    return {"ms": _mean(times), **how}


def load_config(name: str, overrides: list[str], steps: int):
    wanted = periods(steps)
    flags = [f"--config.{name}_every_steps={period}" for name, period in wanted.items()]
    flags += [f"--config.eval_every_steps={wanted['checkpoint']}", f"--config.num_steps={steps}"]
    return config_lib.load(name, [*flags, *overrides])


def parse() -> tuple[argparse.Namespace, list[str]]:
    parser = report.parser(__doc__)
    parser.set_defaults(config="facades", rounds=2)
    drawn.add_flags(parser)
    parser.add_argument("--steps", type=int, default=0, help="of a run (default: 12200, on a CPU 40)")
    parser.add_argument("--seconds", type=float, default=10, help="a turn of PyTorch's loop")
    return report.parse(parser)


def main() -> None:
    arguments, overrides = parse()
    steps = arguments.steps or (40 if jax.default_backend() == "cpu" else 12200)
    config = load_config(arguments.config, overrides, steps)
    found, left_out = machine.facts(*arguments.against), {}
    data = arguments.data_dir or f"{arguments.pairs} drawn pairs"
    report.begin(found, f"loop of {steps} steps over {data}, {report.describe(config)}")
    with tempfile.TemporaryDirectory() as scratch:
        if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # each run of the loop compiles
            jax.config.update("jax_compilation_cache_dir", f"{scratch}/xla")
        config.data_dir = folder = drawn.folder(arguments, scratch, config.image_size)
        others = {"torch": None} if "torch" in arguments.against else {}
        if others and (tuning := report.attempt("torch tuned", lambda: choose_tuning(config), left_out)):
            others["torch tuned"] = tuning
        options = {"rounds": arguments.rounds, "seconds": arguments.seconds, "left_out": left_out}
        bare_ms, runs, answers = take_turns(config, folder, others, **options)
    result = {"steps": steps, "systems": summarise_ours(config, bare_ms, runs)}
    result |= {key: result["systems"].pop(key) for key in ("overhead", "events_ms")}
    result["systems"] |= {name: summarise_torch(name, answer) for name, answer in answers.items()}
    all_in = result["systems"][report.OURS]["ms"]
    result["ratios"] = {name: result["systems"][name]["ms"] / all_in for name in answers}
    report.print_ratios(result["ratios"])
    case = {"config": arguments.config, "overrides": overrides}
    report.finish("loop", found, {**case, **result, "left_out": left_out})


if __name__ == "__main__":
    main()
