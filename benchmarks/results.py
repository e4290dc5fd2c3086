"""Makes the table of scores: trains and evaluates each run by the program itself, and adds published scores.

    python benchmarks/results.py --workdir=runs/results                        # all RUNS, as published
    python benchmarks/results.py --workdir=runs/results --runs=facades,l1
    python benchmarks/results.py --workdir=runs/small --reduced --steps=500    # of a size for CPUs
    python benchmarks/results.py --workdir=runs/small --reduced --runs=facades,improved --seeds=0,1,2

A run is `pix2pix train`, then `pix2pix evaluate --split=test`; at last comes `pix2pix compare` for each direction. The
commands are printed as they are run. Stopped, by Ctrl-C too, the same command goes on from the last checkpoints; what
is trained is evaluated again. Flags that are not known here go to every `pix2pix train`: --config.batch_size=4.

Leaves in WORKDIR the table, results.md, and results.json, comparison/, and a workdir for each run and seed. --record
appends a line of JSON a run to a file: benchmarks/results.jsonl holds those of docs/results.md.
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import machine
import report
from etils import epath

from pix2pix_jax.io import storage
from pix2pix_jax.metrics.names import LABEL_SCORES

SPLIT = "test"
METRICS = "l1,psnr,ssim,ms_ssim,lpips,fid,kid"
REDUCED_METRICS = METRICS.replace(",ms_ssim", "")  # whose pictures are too small for it
SCORES = {"L1": 3, "LPIPS": 3, "SSIM": 3, "FID": 1, "KID": 3}  # columns of the table, with decimals
REDUCED = (
    "--config.image_size=128,128",
    "--config.resize_size=143,143",
    "--config.generator.features=16",
    "--config.discriminator.features=16",
    "--config.num_steps=2000",
    "--config.log_every_steps=20",
    "--config.eval_every_steps=0",
)


@dataclasses.dataclass(frozen=True)
class Run:
    """Describes a row of the table: flags of `pix2pix train`, what they train, and scores of others for orientation."""

    flags: tuple[str, ...]
    about: str
    published: str = ""

    @property
    def direction(self) -> str:
        return self.about.partition(",")[0]


_AS_LABELS = "--config.direction=AtoB"
_AVERAGE = ("--config.ema_decay=0.999", "--config.inference.weights=ema")
# FID: MMGeneration's table, of the paper's own model and of its own. Label scores: table 6 of the paper.
RUNS = {
    "facades": Run(("--config=facades",), "labels -> photo, L1 + cGAN", "FID 119.1; retrained 125.0"),
    "average": Run(("--config=facades", *_AVERAGE), "labels -> photo, L1 + cGAN, moving average"),
    "improved": Run(("--config=improved",), "labels -> photo, preset improved"),
    "l1": Run(("--config=ablations/l1",), "labels -> photo, L1"),
    "cgan": Run(("--config=ablations/cgan",), "labels -> photo, cGAN"),
    "labels": Run(("--config=facades", _AS_LABELS), "photo -> labels, L1 + cGAN", "cityscapes: 0.83, 0.36, 0.29"),
    "labels_l1": Run(("--config=ablations/l1", _AS_LABELS), "photo -> labels, L1", "cityscapes: 0.86, 0.42, 0.35"),
    "labels_cgan": Run(
        ("--config=ablations/cgan", _AS_LABELS), "photo -> labels, cGAN", "cityscapes: 0.74, 0.28, 0.22"
    ),
}


def key_of(name: str, seed: int) -> str:
    """Returns the name of a run's workdir and row: that of the run with seed 0, else with the seed behind it."""
    return f"{name}-{seed}" if seed else name


def run_of(key: str) -> Run:
    return RUNS[key.partition("-")[0]]


def printable(command: Sequence[str]) -> str:
    return f"pix2pix {shlex.join(command)}"


def attempt(command: Sequence[str]) -> int:
    """Runs `pix2pix COMMAND`, and returns its exit code.

    Ctrl-C reaches both programs, SIGTERM is passed on: the other one saves what it has, and this one waits for it.
    """
    print(f"\n$ {printable(command)}", flush=True)
    running: list[subprocess.Popen] = []
    handlers = {
        signal.SIGINT: lambda *_: None,
        signal.SIGTERM: lambda *_: [process.terminate() for process in running],
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        running.append(subprocess.Popen([sys.executable, "-m", "pix2pix_jax", *command]))
        code = running[0].wait()
        return code if code >= 0 else 128 - code  # ended by a signal: as shells say it
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(command: Sequence[str]) -> None:
    """Runs `pix2pix COMMAND`; if it fails or is stopped, ends this program with its exit code."""
    if code := attempt(command):
        sys.exit(code)


class Results:
    """Keeps results.json: each run's command, the turns of its training, and its scores."""

    def __init__(self, workdir: epath.Path, facts: dict[str, Any]):
        storage.make_folder(workdir)
        self._file, self.facts = workdir / "results.json", facts
        found = storage.read(self._file)
        self.runs: dict[str, dict[str, Any]] = json.loads(found)["runs"] if found else {}

    def save(self) -> None:
        storage.write(self._file, (json.dumps({**self.facts, "runs": self.runs}, indent=2) + "\n").encode())


def train_run(key: str, workdir: epath.Path, results: Results, overrides: Iterable[str]) -> None:
    """Trains a run to its end, and notes how long that took, also if it is stopped."""
    command = ["train", *run_of(key).flags, f"--workdir={workdir / key}", *overrides]
    if seed := key.partition("-")[2]:
        command.append(f"--config.seed={seed}")
    entry = results.runs.setdefault(key, {"turns": []})
    entry["command"] = printable(command)
    start, begin = latest_step(workdir / key), time.perf_counter()
    code = attempt(command)
    end = latest_step(workdir / key)
    if end > start:
        turn = {"from": start, "to": end, "seconds": time.perf_counter() - begin, "machine": results.facts["machine"]}
        entry["turns"].append(turn)
        results.save()
    if code:
        sys.exit(code)


def evaluate_run(key: str, workdir: epath.Path, results: Results, flags: Iterable[str]) -> None:
    """Evaluates a run and notes its scores."""
    run(["evaluate", f"--workdir={workdir / key}", f"--split={SPLIT}", *flags])
    step = latest_step(workdir / key)
    scores = json.loads(storage.read(workdir / key / "eval" / f"{SPLIT}-{step}" / "metrics.json"))
    results.runs[key] |= {
        "step": step,
        "images_per_s": images_per_second(workdir / key),
        "num_examples": scores["num_examples"],
        "scores": {**scores["mean"], **scores["total"]},
    }
    results.save()


def record(key: str, results: Results, overrides: Sequence[str], file: pathlib.Path) -> None:
    """Appends a run's line to a file of JSON lines."""
    entry, (name, _, seed) = results.runs[key], key.partition("-")
    line = {
        "run": name,
        "flags": [*run_of(key).flags, *overrides],
        "seed": int(seed or 0),
        "step": entry["step"],
        "split": SPLIT,
        "num_examples": entry["num_examples"],
        "scores": {score: round(value, 5) for score, value in entry["scores"].items()},
        "seconds": round(sum(turn["seconds"] for turn in entry["turns"])),
        "machine": results.facts["machine"],
    }
    with file.open("a") as lines:
        lines.write(json.dumps(line) + "\n")


def latest_step(workdir: epath.Path) -> int:
    """Returns the latest checkpoint's step; 0 if there is none."""
    place = workdir / "checkpoints"
    names = [path.name for path in place.iterdir()] if place.exists() else []
    return max((int(name) for name in names if name.isdigit()), default=0)


def images_per_second(workdir: epath.Path) -> float | None:
    """Returns the median over stretches between lines of metrics.jsonl; None if there are none."""
    batch_size = json.loads(storage.read(workdir / "config.json"))["batch_size"]
    lines = [json.loads(line) for line in storage.read(workdir / "metrics.jsonl").splitlines()]
    stretches = [(b["step"] - a["step"], b["time"] - a["time"]) for a, b in itertools.pairwise(lines)]
    rates = [batch_size * steps / seconds for steps, seconds in stretches if steps > 0 and seconds > 0]
    return statistics.median(rates) if rates else None


def table(keys: Sequence[str], results: Results, overrides: Sequence[str]) -> str:
    """Returns as Markdown the table, the machine, and the commands."""
    head = ("run", "of", "device", "training", "images/s", *SCORES, "label scores", "published")
    lines = [report.markdown(head, (_row(key, results.runs[key]) for key in keys))]
    lines += _spreads(keys, results)
    if overrides:
        note = "Not the paper's recipe, so not to be compared with published scores"
        lines = [f"**{note}**: `{' '.join(overrides)}`.", "", *lines]
    counts = sorted({str(results.runs[key]["num_examples"]) for key in keys})
    lines += [
        "",
        f"{machine.describe(results.facts['machine'])}. Split {SPLIT}, {' and '.join(counts)} pairs. Label scores: "
        "pixel accuracy, class accuracy, mean IoU. Published: by MMGeneration, the FID of the authors' model and of "
        "one that it trained; by the paper, label scores, which are of another set.",
        "",
        "```",
        *(results.runs[key]["command"] for key in keys),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _spreads(keys: Sequence[str], results: Results) -> list[str]:
    """Returns a second table of the mean and the range of each run that several seeds have, if there is one."""
    seeds: dict[str, list[dict[str, float]]] = {}
    for key in keys:
        seeds.setdefault(key.partition("-")[0], []).append(results.runs[key]["scores"])
    rows = [
        [name, str(len(scores)), *(_spread([s.get(score.lower()) for s in scores], n) for score, n in SCORES.items())]
        for name, scores in seeds.items()
        if len(scores) > 1
    ]
    return ["", report.markdown(("run", "seeds", *SCORES), rows)] if rows else []


def _spread(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    return f"{statistics.mean(known):.{digits}f} ({min(known):.{digits}f} to {max(known):.{digits}f})"


def _row(key: str, entry: dict[str, Any]) -> list[str]:
    scores, turns = entry["scores"], entry["turns"]
    devices = dict.fromkeys(machine.devices(turn["machine"]) for turn in turns)
    labels = [_format(scores.get(score), 2) for score in LABEL_SCORES if score in scores]
    return [
        key,
        run_of(key).about,
        ", ".join(devices),
        _duration(turns, entry["step"]),
        _format(entry["images_per_s"], 1),
        *(_format(scores.get(score.lower()), digits) for score, digits in SCORES.items()),
        ", ".join(labels),
        run_of(key).published,
    ]


def _duration(turns: list[dict[str, Any]], step: int) -> str:
    """Formats the time of training with start and compilation; "over" if turns were killed without leaving a time."""
    seconds = sum(turn["seconds"] for turn in turns)
    known = sum(turn["to"] - turn["from"] for turn in turns) >= step
    text = f"{seconds / 3600:.1f} h" if seconds > 2 * 3600 else f"{int(seconds) // 60} min {int(seconds) % 60} s"
    return text if known else f"over {text}"


def _format(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def compare_runs(keys: Sequence[str], workdir: epath.Path) -> None:
    """Writes a page for each direction, whose runs have the same inputs."""
    for direction in dict.fromkeys(run_of(key).direction for key in keys):
        same = [str(workdir / key) for key in keys if run_of(key).direction == direction]
        output = workdir / "comparison" / direction.replace(" -> ", "_to_")
        run(["compare", *same, f"--split={SPLIT}", f"--output={output}"])


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str], list[str]]:
    """Returns (flags, names of runs, overrides of every config)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--workdir", required=True, metavar="DIR", help="of all runs and the table")
    parser.add_argument("--runs", default=",".join(RUNS), metavar="NAME,...", help="(default: %(default)s)")
    parser.add_argument("--seeds", type=numbers, default=[0], metavar="N,...", help="of each run (default: 0)")
    parser.add_argument("--data_dir", default="", metavar="DIR", help="as --config.data_dir (default: downloads)")
    parser.add_argument("--reduced", action="store_true", help=f"with {' '.join(REDUCED)}")
    parser.add_argument("--steps", type=int, metavar="N", help="as --config.num_steps")
    parser.add_argument("--record", type=pathlib.Path, metavar="FILE.jsonl", help="appends a line a run")
    parser.add_argument("--metrics", metavar="NAME,...", help="of evaluate; labels are added where they can be")
    arguments, rest = report.parse(parser, argv)
    names = arguments.runs.split(",")
    for name in names:
        if name not in RUNS:
            parser.error(f"--runs: no run {name}; there are {', '.join(RUNS)}")
    steps = [f"--config.num_steps={arguments.steps}"] if arguments.steps else []
    overrides = [*(REDUCED if arguments.reduced else ()), *steps, *rest]
    last = {flag.split("=")[0]: flag for flag in overrides}  # of flags of one field
    return arguments, names, list(last.values())


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def evaluate_flags(key: str, arguments: argparse.Namespace) -> list[str]:
    metrics = arguments.metrics or (REDUCED_METRICS if arguments.reduced else METRICS)
    if _AS_LABELS in run_of(key).flags and metrics != "auto":
        metrics += ",labels"
    return [f"--metrics={metrics}"]


def main(argv: Sequence[str] | None = None) -> None:
    arguments, names, overrides = parse(argv)
    workdir = storage.folder(arguments.workdir)
    results = Results(workdir, {"machine": machine.ask(), "split": SPLIT, "overrides": overrides})
    data = [f"--config.data_dir={arguments.data_dir}"] if arguments.data_dir else []
    keys = [key_of(name, seed) for seed in arguments.seeds for name in names]
    for key in keys:
        train_run(key, workdir, results, [*data, *overrides])
        evaluate_run(key, workdir, results, evaluate_flags(key, arguments))
        if arguments.record:
            record(key, results, overrides, arguments.record)
    compare_runs(keys, workdir)
    text = table(keys, results, overrides)
    storage.write(workdir / "results.md", text.encode())
    print(f"\n{text}")


if __name__ == "__main__":
    main()
