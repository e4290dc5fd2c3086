"""Measures the seconds of `pix2pix translate` of one picture, from the shell to the written file.

    python benchmarks/translate.py --against=torch

Trains a model for one step, whose weights are as good as any for this, and starts the program itself: once with nothing
compiled, then in turns with a program of PyTorch (torch_translate.py) that loads a U-Net of the same size and writes a
picture too, and with one that imports JAX, Flax and Orbax, and does nothing. Prints a table and, as the last line,
JSON.
"""

import functools
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import alternate
import drawn
import machine
import report

from pix2pix_jax import configuration as config_lib

ENVIRONMENT = dict(os.environ)  # before our flags change it
IMPORTS = "import jax, flax.linen, orbax.checkpoint, PIL.Image"  # what no program that restores a checkpoint is without
HERE = pathlib.Path(__file__).parent


def seconds(command: list[str], output: pathlib.Path | None, **environment: str) -> float:
    """Runs a program of Python, which is to write `output`. Raises RuntimeError if it fails."""
    if output:
        output.unlink(missing_ok=True)
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, *command], env=ENVIRONMENT | environment, capture_output=True, text=True)
    took = time.perf_counter() - begin
    if done.returncode or not (output is None or output.is_file()):
        raise RuntimeError(f"exit code {done.returncode}: {' '.join(done.stderr.split())[-300:]}")
    return took


def train(config: str, overrides: list[str], scratch: pathlib.Path) -> pathlib.Path:
    """Returns the workdir of a run of one step."""
    size = config_lib.load(config, overrides).image_size
    folder = drawn.write(str(scratch / "drawn"), size=tuple(size), count=4)
    quiet = [f"--config.{name}_every_steps=0" for name in ("eval", "sample")]
    flags = [f"--config={config}", f"--config.data_dir={folder}", *overrides, "--config.num_steps=1", *quiet]
    seconds(["-m", "pix2pix_jax", "train", *flags, f"--workdir={scratch / 'run'}"], scratch / "run" / "config.json")
    return scratch / "run"


def main() -> None:
    parser = report.parser(__doc__)
    parser.set_defaults(config="facades")
    arguments, overrides = report.parse(parser)
    found, left_out = machine.ask(*arguments.against), {}
    config = config_lib.load(arguments.config, overrides)
    report.begin(found, f"translate, one picture, {config.image_size}, features {config.generator.features}")
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        workdir = train(arguments.config, overrides, scratch)
        picture = next((scratch / "drawn" / "val").iterdir())
        flags = [f"--workdir={workdir}", f"--input={picture}", f"--output={scratch / 'out'}", "--pairs=yes"]
        written = scratch / "out" / f"{picture.stem}.png"
        cache = {"JAX_COMPILATION_CACHE_DIR": str(scratch / "xla")}
        ours = functools.partial(seconds, ["-m", "pix2pix_jax", "translate", *flags], written, **cache)
        systems = {report.OURS: ours, "imports alone": functools.partial(seconds, ["-c", IMPORTS], None)}
        if "torch" in arguments.against:
            weights = scratch / "weights.pt"
            program = [str(HERE / "torch_translate.py"), f"--weights={weights}"]
            program += [f"--{name}={value}" for name, value in report.torch_case(config).items()]
            if report.attempt("torch", lambda: seconds([*program, "--save"], weights), left_out):
                files = [f"--input={picture}", f"--output={scratch / 'torch.png'}"]
                systems["torch"] = functools.partial(seconds, [*program, *files], scratch / "torch.png")
        first = ours()
        turns = {name: [] for name in systems}
        for _ in range(arguments.rounds):
            for name, system in systems.items():
                turns[name].append(system())
    print(f"{report.OURS}, first: {first:.1f} s")
    rows = {}
    for name, times in turns.items():
        low, rows[name], high = alternate.quartiles(times)
        print(f"{name:20} {rows[name]:.2f} s ({low:.2f} to {high:.2f})")
    case = {"config": arguments.config, "overrides": overrides}
    report.finish("translate", found, {**case, "seconds": {"nothing compiled": first, **rows}, "left_out": left_out})


if __name__ == "__main__":
    main()
