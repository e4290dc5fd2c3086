"""Runs all benchmarks that have goals, one after the other, and tells what they reach.

    python benchmarks/suite.py --data_dir=FOLDER           # FOLDER/train: A|B images, as of the published facades
    python benchmarks/suite.py --cases=train_step,loop     # some of them; --list names them
    python benchmarks/suite.py --quick                     # tiny networks: whether everything runs, in minutes

A case is a program of this folder, in a process of its own, so that it has the device to itself. Which cases there are
depends on the device. Commands and their tables are printed as they are run; at the end comes a table of goals and, as
the last line, JSON, also to --output. A case that fails or takes longer than --timeout is left out of it.
"""

import argparse
import dataclasses
import functools
import json
import operator
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import machine
import report

BFLOAT16 = "--config.compute_dtype=bfloat16"
QUICK = (
    "--config.generator.features=8",
    "--config.discriminator.features=8",
    "--config.image_size=64,64",
    "--config.resize_size=72,72",
)


@dataclasses.dataclass(frozen=True)
class Goal:
    """Describes what a case is to reach.

    Attributes:
      text: the goal in words.
      path: keys of the value in the program's JSON, which lacks it if a system was left out.
      limit: the value to reach.
      unit: follows the value; with " %", the value is multiplied by 100.
      is_least: True if the value must be at least `limit`, False if at most.
    """

    text: str
    path: tuple[str, ...]
    limit: float
    unit: str
    is_least: bool = False

    def value(self, result: Mapping[str, Any]) -> float | None:
        """Returns the value in a program's JSON, None if it has none."""
        try:
            found = functools.reduce(operator.getitem, self.path, result)
        except KeyError:
            return None
        return 100 * found if self.unit == " %" else found

    def met(self, value: float) -> bool:
        return value >= self.limit if self.is_least else value <= self.limit


@dataclasses.dataclass(frozen=True)
class Case:
    """Describes a command: program, flags, further ones for --quick, goals, and whether it reads pairs."""

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


def faster(name: str, factor: float = 1, rules: str = "") -> Goal:
    """Returns the goal of at least `factor` times the speed of a system; in inference, by such rules."""
    text = f"{rules + ' rules: ' if rules else ''}at least {factor:g} x the speed of {name}"
    return Goal(text, (*(("rules", rules) if rules else ()), "ratios", name), factor, " x", is_least=True)


def ceiling(percent: float) -> Goal:
    return Goal(
        f"at least {percent:g} % of the matrix ceiling", (*OURS, "share_of_ceiling"), percent, " %", is_least=True
    )


def start(which: str, factor: float) -> Goal:
    """Returns the goal of a start, "first" or "again", as a multiple of PyTorch's."""
    return Goal(f"start to first step, {which}, in at most {factor:g} x torch's time", ("ratios", which), factor, " x")


def second_start(seconds: float) -> Goal:
    text = f"second start to first step in at most {seconds:g} s"
    return Goal(text, ("seconds", "pix2pix_jax", "total"), seconds, " s")


OURS = ("systems", "pix2pix_jax")
STEP = Goal("a step of the whole loop in at most 1.5 ms", (*OURS, "ms"), 1.5, " ms")
OVERHEAD = Goal("loop, all in, within 2 % of the bare step", ("overhead", "all_in"), 2, " %")
RECIPE = Goal("200 epochs of 400 pairs, with everything, in at most 180 s", (*OURS, "whole_s"), 180, " s")
AGAINST = "--against=torch"
BOTH = "--against=torch,onnxruntime"
SHORT = ("--rounds=1", "--seconds=0.2")
FEW = (*SHORT, "--pairs=8", "--steps=40")
LOOP = (faster("torch", 5), faster("torch tuned", 1.5), STEP, OVERHEAD)
FAST_BATCH = (ceiling(50), faster("torch tuned", 1.3))
STEPS = (faster("torch", 1.25), faster("torch tuned", 1.25))
SMALL = ("--config.image_size=128,128", "--config.resize_size=143,143")
RULES = ("published", "running")
TRANSLATION = tuple(faster(name, rules=rules) for rules in RULES for name in ("torch", "torch tuned"))
ON_TWO_CORES = tuple(
    goal for rules in RULES for goal in (faster("torch tuned", 1.25, rules), faster("onnxruntime", 1, rules))
)
STARTS = (start("first", 5), start("again", 1.2))
FILE = Goal("translate of one picture, from the shell to the file, in at most 3 s", ("seconds", "pix2pix_jax"), 3, " s")
INPUT = Case("input.py", (AGAINST,), (*SHORT, "--workers"), data=True)

ON_GPU = {
    "train_step": Case("train_step.py", (AGAINST,), SHORT),
    "train_step_bf16": Case("train_step.py", (AGAINST, BFLOAT16), SHORT),
    "train_step_64": Case("train_step.py", (AGAINST, BFLOAT16, "--config.batch_size=64"), SHORT, FAST_BATCH),
    "inference_64": Case(
        "inference.py", (AGAINST, BFLOAT16, "--config.batch_size=64"), (*SHORT, "--config.batch_size=2"), TRANSLATION
    ),
    "loop": Case("loop.py", (AGAINST,), FEW, LOOP, data=True),
    "loop_bf16": Case("loop.py", (AGAINST, BFLOAT16), FEW, LOOP, data=True),
    "recipe": Case("loop.py", ("--steps=80000", "--rounds=1"), FEW, (RECIPE,), data=True),
    "start_up": Case("start_up.py", (AGAINST,), ("--rounds=1", "--pairs=8"), (*STARTS, second_start(10)), data=True),
    "input": INPUT,
}
ON_CPU = {
    "train_step": Case("train_step.py", (AGAINST,), SHORT, (*STEPS, ceiling(75))),
    "train_step_4": Case(
        "train_step.py", (AGAINST, "--config.batch_size=4", "--seconds=8"), SHORT, (*STEPS, ceiling(75))
    ),
    "train_step_128": Case("train_step.py", (AGAINST, *SMALL), SHORT, STEPS),
    "inference": Case("inference.py", (BOTH,), SHORT, ON_TWO_CORES),
    "translate": Case("translate.py", (AGAINST,), ("--rounds=1",), (FILE,)),
    "loop": Case("loop.py", (AGAINST,), FEW, (faster("torch", 1.25), OVERHEAD), data=True),
    "start_up": Case("start_up.py", (AGAINST,), ("--rounds=1", "--pairs=8"), (*STARTS, second_start(15)), data=True),
    "input": INPUT,
}


def run(command: Sequence[str], timeout: float) -> dict[str, Any]:
    """Runs a benchmark, prints its table and returns its JSON; {"error": ...} if it fails."""
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
    """Returns a row for each goal of the case: what was reached, and whether that is enough; None: not measured."""
    rows = []
    for goal in case.goals:
        value = goal.value(result)
        met = None if value is None else goal.met(value)
        rows.append({"case": name, "goal": goal.text, "reached": value, "unit": goal.unit, "met": met})
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the goals as a Markdown table."""
    lines = []
    for row in rows:
        reached = "not measured" if row["reached"] is None else f"{row['reached']:.3g}{row['unit']}"
        lines.append((row["case"], row["goal"], reached, {True: "met", False: "missed", None: ""}[row["met"]]))
    return report.markdown(("case", "goal", "reached", ""), lines)


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
