"""Pictures a second of the FID's Inception network, beside PyTorch's, and the time of a whole evaluation by FID.

    python benchmarks/inception.py                      # batches of 1, 16 and 32
    python benchmarks/inception.py --against=torch      # systems take turns in one process (pip install torch)
    python benchmarks/inception.py --evaluate=FOLDER    # also `pix2pix evaluate --metrics=fid` over its A|B images

`pix2pix evaluate` takes one picture at a time on a CPU, and 16 a device on accelerators. A call takes a batch from the
host, float32 (N, 299, 299, 3), and brings its features back. A matrix product in float32 has its turns too, and says
what the machine gives at that time. Weights are those that `pix2pix evaluate` would take (--inception=FILE,
PIX2PIX_INCEPTION, or an earlier download); without any, random ones of the same shapes. Prints a table and, as the last
line, JSON.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import alternate
import floor
import jax
import jax.numpy as jnp
import machine
import numpy as np
from PIL import Image

from pix2pix_jax.data.files.picture_files import find_files
from pix2pix_jax.metrics import inception, weights

SIDE = 3072  # of the matrices
PRODUCT = f"{SIDE} x {SIDE} product"


def write_random(path: pathlib.Path) -> pathlib.Path:
    """Weights for `weights.load` by which activations keep their size from layer to layer."""
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape) if len(shape) > 1 else rng.uniform(0.5, 1, shape)
        for name, shape in inception.shapes().items()
    }
    np.savez(path, **{name: array.astype(np.float32) for name, array in arrays.items()})
    return path


def jax_features(file: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """Of the network as `pix2pix evaluate` runs it, after the resize."""
    variables = jax.device_put(weights.load(weights.INCEPTION, str(file)).variables)
    network = jax.jit(inception.Inception().apply)
    return lambda images: np.asarray(network(variables, images))


def gflop(batch: int) -> float:
    """Of the network, as XLA counts them before it compiles: of libraries' kernels, as on GPUs, it could not."""
    network = inception.Inception()
    images = jax.ShapeDtypeStruct((batch, inception.SIZE, inception.SIZE, 3), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), images)
    return jax.jit(network.apply).lower(variables, images).cost_analysis()["flops"] / 1e9


def measure(networks: dict[str, Callable], *, batch: int, rounds: int, seconds: float) -> dict:
    """Times of a batch size: prints them, and returns them for JSON. `seconds`: about how long a turn takes."""
    images = np.random.default_rng(0).uniform(-1, 1, (batch, inception.SIZE, inception.SIZE, 3)).astype(np.float32)
    systems = {name: alternate.one_by_one(lambda n=network: n(images)) for name, network in networks.items()}
    product = floor.product("float32", side=SIDE, precision=jax.lax.Precision.HIGHEST)
    measured = alternate.measure({**systems, PRODUCT: product}, rounds=rounds, seconds=seconds)
    times = measured.milliseconds
    work = gflop(batch)
    low, median, high = alternate.quartiles(times.pop(PRODUCT))
    answer = {"batch": batch, "gflop_per_image": work / batch, "product_gflop_per_s": 2e-6 * SIDE**3 / median}
    answer["others"] = measured.others
    print(
        f"batch {batch}: {work / batch:.2f} GFLOP an image; other programs took {measured.others:.0%} of the processor"
    )
    for name, values in times.items():
        found = [1e3 * batch / time for time in reversed(alternate.quartiles(values))]
        answer[name] = dict(zip(("low", "median", "high"), found, strict=True))
        rate = found[1] * work / batch
        print(f"  {name:12} {found[1]:8.1f} images/s ({found[0]:.1f} to {found[2]:.1f}), {rate:.0f} GFLOP/s")
    print(f"  {PRODUCT}: {answer['product_gflop_per_s']:.0f} GFLOP/s ({low:.0f} to {high:.0f} ms)")
    if "torch" in times:
        answer["ratio"] = answer["pix2pix_jax"]["median"] / answer["torch"]["median"]
        print(f"  ratio        {answer['ratio']:.2f} x torch's images/s")
    return answer


def split_pairs(folder: str, into: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes the right and left halves of the A|B images of a folder, and returns the two folders."""
    right, left = into / "right", into / "left"
    right.mkdir(), left.mkdir()
    for file in find_files(folder, "--evaluate").files:
        with Image.open(file) as pair:
            middle, height = pair.width // 2, pair.height
            pair.crop((0, 0, middle, height)).save(left / f"{file.stem}.png")
            pair.crop((middle, 0, 2 * middle, height)).save(right / f"{file.stem}.png")
    return right, left


def evaluate(folder: str, file: pathlib.Path) -> dict[str, float]:
    """Seconds of `pix2pix evaluate`: first with no program compiled and no feature known, then a second time."""
    with tempfile.TemporaryDirectory() as place:
        pictures, targets = split_pairs(folder, pathlib.Path(place))
        command = ["evaluate", f"--pictures={pictures}", f"--targets={targets}", f"--output={place}/output"]
        command += ["--metrics=fid", f"--inception={file}"]
        environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
        environment["XDG_CACHE_HOME"] = f"{place}/cache"
        seconds = {}
        for name in ("first", "again"):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "pix2pix_jax", *command], env=environment, check=True)
            seconds[name] = time.perf_counter() - start
        count = len(list(pictures.iterdir()))
    print(
        f"pix2pix evaluate --metrics=fid, {count} + {count} pictures: {seconds['first']:.1f} s, of which programs are"
    )
    print(f"compiled and targets' features computed once; a second time {seconds['again']:.1f} s")
    return {"pictures": count, **seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", choices=("torch",))
    parser.add_argument("--batch", default="1,16,32", help="sizes")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5, help="a turn")
    parser.add_argument("--inception", default="", metavar="FILE", help="weights; else PIX2PIX_INCEPTION")
    parser.add_argument("--evaluate", metavar="FOLDER", help="of A|B images, whose halves are compared")
    arguments = parser.parse_args()
    result = {"machine": machine.facts(), "batches": []}
    print(machine.describe(result["machine"]))
    with tempfile.TemporaryDirectory() as place:
        file = weights.find(weights.INCEPTION, arguments.inception)
        result["weights"] = "of a file" if file else "random"
        file = file or write_random(pathlib.Path(place) / "inception.npz")
        print(f"weights {result['weights']}")
        networks = {"pix2pix_jax": jax_features(file)}
        if arguments.against:
            import torch
            from torch_inception import TorchInception

            networks["torch"] = TorchInception(file)
            result["torch"] = {"version": torch.__version__, "threads": torch.get_num_threads()}
            print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, on {networks['torch'].device}")
        for batch in map(int, arguments.batch.split(",")):
            result["batches"].append(measure(networks, batch=batch, rounds=arguments.rounds, seconds=arguments.seconds))
        if arguments.evaluate:
            result["evaluate"] = evaluate(arguments.evaluate, file)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
