"""Measures time and memory of a picture at its own size: in one pass, in tiles, and in one pass of PyTorch.

    python benchmarks/any_size.py                                    # 256 to 4096 px
    python benchmarks/any_size.py --sizes=256,1024 --config.generator.features=16
    python benchmarks/any_size.py --mixed=1000 --config.generator.features=32    # sides from 200 to 1000 px

Each system and size has a process of its own, whose memory at the end of the second call is the highest that it ever
had; the first call compiles. The paper's rules: dropout on, each picture normalised by its own statistics. Weights are
random. Prints a table and, as the last line, JSON.
"""

import json
import resource
import subprocess
import sys
import time

import inference
import jax
import machine
import numpy as np
import report

from pix2pix_jax import configuration as config_lib

SYSTEMS = {"one pass": "off", "tiles": 1024, "torch": None}


def ours(config, size: int, tile: str | int):
    model, image = inference.make_model(config), _image(size)
    return lambda: model.translate(image, size="native", tile=tile)


def torch_whole(config, size: int):
    """Makes a call of PyTorch's whole-picture pass, uint8 to uint8 as ours."""
    import torch
    import torch_recipe

    translator = torch_recipe.Translator(**report.torch_case(config), published=True)
    image = _image(size)

    def call():
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
        output = translator.translate(translator.place(pixels))
        return ((output[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()

    return call


def _image(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)


def run_one(config, system: str, size: int) -> None:
    """Prints the seconds of two calls and the highest memory of this process, as JSON."""
    call = torch_whole(config, size) if system == "torch" else ours(config, size, SYSTEMS[system])
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"first_s": seconds[0], "s": seconds[1], "peak_gib": peak}))


def run_mixed(config, count: int) -> dict[str, float]:
    """Translates pictures of random sizes one by one, as a folder of them; returns seconds and compiled programs."""
    model, random = inference.make_model(config), np.random.default_rng(0)
    sides = random.integers(200, 1001, (count, 2))
    pixels = _image(1000)
    compiled = []

    def listen(event: str, seconds: float, **_) -> None:
        if event == "/jax/core/compile/backend_compile_duration":  # also of programs from the cache
            compiled.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    start = time.perf_counter()
    for height, width in sides:
        model.translate(pixels[:height, :width], size="native")
    seconds = time.perf_counter() - start
    return {"pictures": count, "s": seconds, "programs": len(compiled), "compiling_s": sum(compiled)}


def main() -> None:
    parser = report.parser(__doc__, against=())
    parser.add_argument("--sizes", default="256,512,1024,2048,4096", help="(default: %(default)s)")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="(default: %(default)s)")
    parser.add_argument("--mixed", type=int, metavar="COUNT", help="pictures of random sizes instead")
    parser.add_argument("--one", action="store_true", help="one size and system, in this process")
    arguments, overrides = report.parse(parser)
    config = config_lib.load(arguments.config, overrides)
    sizes, systems = list(map(int, arguments.sizes.split(","))), arguments.systems.split(",")
    if arguments.one:
        run_one(config, systems[0], sizes[0])
        return
    if arguments.mixed:
        facts = machine.facts()
        report.begin(facts, f"{arguments.mixed} pictures of random sizes, {report.describe(config)}")
        result = run_mixed(config, arguments.mixed)
        print(result)
        report.finish("any_size", facts, {"config": arguments.config, "overrides": overrides, "mixed": result})
        return
    facts = machine.facts(*(["torch"] if "torch" in systems else []))
    report.begin(facts, f"pictures at their own size, {report.describe(config)}")
    results: dict[str, dict[int, dict]] = {system: {} for system in systems}
    for size in sizes:
        for system in systems:
            flags = ["--one", f"--sizes={size}", f"--systems={system}", f"--config={arguments.config}", *overrides]
            done = subprocess.run([sys.executable, __file__, *flags], stdout=subprocess.PIPE, text=True)
            results[system][size] = {} if done.returncode else json.loads(done.stdout.splitlines()[-1])
            print(f"{size} px, {system}: {results[system][size] or 'failed'}", flush=True)
    rows = [[f"{size}", *(_cell(results[system][size]) for system in systems)] for size in sizes]
    print(report.markdown(("px", *systems), rows))
    report.finish("any_size", facts, {"config": arguments.config, "overrides": overrides, "results": results})


def _cell(result: dict) -> str:
    return f"{result['s']:.2f} s, {result['peak_gib']:.1f} GiB" if result else "out of memory"


if __name__ == "__main__":
    main()
