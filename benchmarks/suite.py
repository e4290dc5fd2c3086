"""All benchmarks that the goals are about, one after the other, and what they reach of these.

    python benchmarks/suite.py --data_dir=FOLDER           # FOLDER/train: A|B images, as of the published facades
    python benchmarks/suite.py --cases=train_step,loop     # some of them; --list names them
    python benchmarks/suite.py --quick                     # tiny networks: whether everything runs, in minutes

A case is a program of this folder, in a process of its own, so that it has the device to itself. Which cases there are
depends on the device. Commands and their tables are printed as they are run; at the end comes a table of goals and, as
the last line, JSON, also to --output. A case that fails or takes longer than --timeout is left out of it.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import machine

BFLOAT16 = "--config.compute_dtype=bfloat16"
QUICK = (
    "--config.generator.features=8",
    "--config.discriminator.features=8",
    "--config.image_size=64,64",
    "--config.resize_size=72,72",
)


@dataclasses.dataclass(frozen=True)
class Goal:
    """What a case is to reach.

    Attributes:
      text: the goal in words.
      value: of the program's JSON; KeyError where it has none, as of a system that was left out.
      met: whether a value reaches it.
      unit: after the value.
    """

    text: str
    value: Callable[[Mapping[str, Any]], float]
    met: Callable[[float], bool]
    unit: str = ""


@dataclasses.dataclass(frozen=True)
class Case:
    """A command: program, flags, shorter ones for --quick; whether it reads pairs."""

    program: str
    flags: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = ()
    data: bool = False

    def command(self, arguments: argparse.Namespace) -> list[str]:
        flags = [*self.flags, *(self.quick if arguments.quick else ())]
        if self.data and arguments.data_dir and not arguments.quick:
            flags.append(f"--data_dir={arguments.data_dir}")
        if self.program != "input.py":
            flags += QUICK if arguments.quick else ()
        return [sys.executable, str(pathlib.Path(__file__).with_name(self.program)), *flags]


def faster(name: str, factor: float) -> Goal:
    """At least `factor` times the speed of a system."""
    text = f"at least {factor:g} x the speed of {name}"
    return Goal(text, lambda result: 1 / result["ratios"][name], lambda value: value >= factor, " x")


def faster_at(rules: str, name: str) -> Goal:
    """Of inference: at least the speed of a system."""
    text = f"{rules} rules: at least the speed of {name}"
    return Goal(text, lambda result: 1 / result["rules"][rules]["ratios"][name], lambda value: value >= 1, " x")


def no_slower(name: str) -> Goal:
    text = f"faster than {name}; at best 0.8 x its time"
    return Goal(text, lambda result: result["ratios"][name], lambda value: value < 1, " x its time")


CEILING = Goal(
    "at least 50 % of the matrix ceiling",
    lambda result: 100 * result["systems"]["pix2pix_jax"]["share_of_ceiling"],
    lambda value: value >= 50,
    " %",
)
STEP = Goal(
    "a step of the whole loop in at most 1.5 ms",
    lambda result: result["systems"]["pix2pix_jax"]["ms"],
    lambda value: value <= 1.5,
    " ms",
)
OVERHEAD = Goal(
    "loop within 3 % of the bare step, between samples and checkpoints",
    lambda result: 100 * result["overhead"]["between_events"],
    lambda value: value <= 3,
    " %",
)
RECIPE = Goal(
    "200 epochs of 400 pairs, with everything, in under 180 s",
    lambda result: result["systems"]["pix2pix_jax"]["whole_s"],
    lambda value: value < 180,
    " s",
)


def second_start(seconds: float) -> Goal:
    return Goal(
        f"second start to first step in under {seconds:g} s",
        lambda result: result["seconds"]["pix2pix_jax"]["total"],
        lambda value: value < seconds,
        " s",
    )


AGAINST = "--against=torch"
BOTH = "--against=torch,onnxruntime"
SHORT = ("--rounds=1", "--seconds=0.2")
LOOP = (faster("torch", 5), faster("torch tuned", 1.5), STEP, OVERHEAD)
FAST_BATCH = (CEILING, faster("torch tuned", 1.3))
TRANSLATION = tuple(faster_at(rules, name) for rules in ("published", "running") for name in ("torch", "torch tuned"))
INPUT = Case("input.py", (AGAINST,), (*SHORT, "--workers"), data=True)

ON_GPU = {
    "train_step": Case("train_step.py", (AGAINST,), SHORT),
    "train_step_bf16": Case("train_step.py", (AGAINST, BFLOAT16), SHORT),
    "train_step_64": Case("train_step.py", (AGAINST, BFLOAT16, "--config.batch_size=64"), SHORT, FAST_BATCH),
    "inference_64": Case(
        "inference.py", (AGAINST, BFLOAT16, "--config.batch_size=64"), (*SHORT, "--config.batch_size=2"), TRANSLATION
    ),
    "loop": Case("loop.py", (AGAINST,), (*SHORT, "--pairs=8", "--steps=40"), LOOP, data=True),
    "loop_bf16": Case("loop.py", (AGAINST, BFLOAT16), (*SHORT, "--pairs=8", "--steps=40"), LOOP, data=True),
    "recipe": Case(
        "loop.py", ("--steps=80000", "--rounds=1"), ("--steps=100", "--pairs=8", "--seconds=0.2"), (RECIPE,), data=True
    ),
    "start_up": Case("start_up.py", (AGAINST,), ("--rounds=1", "--pairs=8"), (second_start(10),), data=True),
    "input": INPUT,
}
ON_CPU = {
    "train_step": Case("train_step.py", (AGAINST,), SHORT, (no_slower("torch"), no_slower("torch tuned"))),
    "train_step_4": Case(
        "train_step.py",
        (AGAINST, "--config.batch_size=4", "--seconds=8"),
        SHORT,
        (no_slower("torch"), no_slower("torch tuned")),
    ),
    "inference": Case("inference.py", (BOTH,), SHORT, (*TRANSLATION, faster_at("running", "onnxruntime"))),
    "loop": Case("loop.py", (AGAINST,), (*SHORT, "--pairs=8", "--steps=40"), (no_slower("torch"), OVERHEAD), data=True),
    "start_up": Case("start_up.py", (AGAINST,), ("--rounds=1", "--pairs=8"), (second_start(15),), data=True),
    "input": INPUT,
}


def run(command: Sequence[str], timeout: float) -> dict[str, Any]:
    """The JSON of a benchmark, whose output is passed on; {"error": ...} where it fails."""
    print(f"\n$ {shlex.join(command)}", flush=True)
    begin = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            answer, _ = process.communicate(timeout=timeout)
        except BaseException as error:  # a stopped benchmark leaves no processes of its own to disturb the next
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                return {"error": f"longer than {timeout:.0f} s"}
            raise
    *table, line = answer.splitlines() or [""]
    print("\n".join(table), flush=True)
    if process.returncode:
        return {"error": f"exit code {process.returncode}"}
    return {**json.loads(line), "took_s": round(time.monotonic() - begin)}


def judge(name: str, case: Case, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each goal of the case: what was reached, and whether that is enough; None: not measured."""
    rows = []
    for goal in case.goals:
        try:
            value = None if "error" in result else goal.value(result)
        except KeyError:
            value = None
        met = None if value is None else goal.met(value)
        rows.append({"case": name, "goal": goal.text, "reached": value, "unit": goal.unit, "met": met})
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown."""
    lines = ["| case | goal | reached | |", "|---|---|---|---|"]
    for row in rows:
        reached = "not measured" if row["reached"] is None else f"{row['reached']:.3g}{row['unit']}"
        verdict = {True: "met", False: "missed", None: ""}[row["met"]]
        lines.append(f"| {row['case']} | {row['goal']} | {reached} | {verdict} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--cases", default="", metavar="NAME,...", help="(default: all that the device has)")
    parser.add_argument("--list", action="store_true", help="names the cases, with their commands")
    parser.add_argument("--data_dir", default="", metavar="FOLDER", help="with train/ of A|B images")
    parser.add_argument("--quick", action="store_true", help="tiny networks; the figures mean nothing")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds a case")
    parser.add_argument("--output", default="", metavar="FILE.json")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    found = machine.ask("jaxlib", "flax", "optax", "torch", "onnxruntime", "numpy", "pillow")
    print(machine.describe(found))
    cases = ON_CPU if found["device"] == "cpu" else ON_GPU
    names = arguments.cases.split(",") if arguments.cases else list(cases)
    if unknown := set(names) - set(cases):
        sys.exit(f"--cases: no case {', '.join(unknown)} on this device; there are {', '.join(cases)}")
    if arguments.list:
        for name in names:
            print(f"{name:16} {shlex.join(cases[name].command(arguments)[1:])}")
        return
    results = {name: run(cases[name].command(arguments), arguments.timeout) for name in names}
    rows = [row for name in names for row in judge(name, cases[name], results[name])]
    print(f"\n{machine.describe(found)}{', quick: figures mean nothing' if arguments.quick else ''}\n\n{table(rows)}")
    for name, result in results.items():
        if "error" in result:
            print(f"{name}: {result['error']}")
    text = json.dumps({"benchmark": "suite", "machine": found, "goals": rows, "results": results})
    if arguments.output:
        pathlib.Path(arguments.output).write_text(text + "\n")
    print(text)
    sys.exit(any("error" in result for result in results.values()))


if __name__ == "__main__":
    main()
