"""Measures images a second of FID's Inception network, beside PyTorch's.

    python benchmarks/inception.py                      # batches of 1, 16 and 32
    python benchmarks/inception.py --against=torch      # systems take turns in one process (pip install torch)

`pix2pix evaluate` takes one image at a time on a CPU, and 16 a device on accelerators. A call takes a batch from the
host, float32 (N, 299, 299, 3), and brings its features back. Weights are those that `pix2pix evaluate` would take, or
random ones if there are none. Prints a table and, as the last line, JSON.
"""

import argparse
import pathlib
import sys
import tempfile
from collections.abc import Callable

import alternate
import jax
import jax.numpy as jnp
import machine
import numpy as np
import report

from pix2pix_jax.metrics import inception, weights


def write_random(path: pathlib.Path) -> pathlib.Path:
    """Writes weights for `weights.load` by which activations keep their size from layer to layer."""
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape) if len(shape) > 1 else rng.uniform(0.5, 1, shape)
        for name, shape in inception.shapes().items()
    }
    np.savez(path, **{name: array.astype(np.float32) for name, array in arrays.items()})
    return path


def jax_features(file: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """Makes the network as `pix2pix evaluate` runs it, after the resize."""
    variables = jax.device_put(weights.load(weights.INCEPTION, str(file)).variables)
    network = jax.jit(inception.Inception().apply)
    return lambda images: np.asarray(network(variables, images))


def gflop(batch: int) -> float:
    """Returns XLA's count before it compiles: it cannot count libraries' kernels, as on GPUs."""
    network = inception.Inception()
    images = jax.ShapeDtypeStruct((batch, inception.SIZE, inception.SIZE, 3), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), images)
    return jax.jit(network.apply).lower(variables, images).cost_analysis()["flops"] / 1e9


def torch_features(file: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """Makes the network as pytorch-fid runs it, in float32 throughout, on PyTorch's GPU if there is one."""
    import torch

    # The network is that of the golden files, whose programs import each other as scripts of one folder.
    sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "golden"))
    from torch_metrics import Inception

    torch.backends.cudnn.allow_tf32 = False
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = Inception().to(device)
    arrays = torch.load(file, weights_only=True) if file.suffix == ".pth" else dict(np.load(file))
    known = network.state_dict()
    network.load_state_dict({name: torch.as_tensor(array) for name, array in arrays.items() if name in known})

    @torch.inference_mode()
    def features(images: np.ndarray) -> np.ndarray:
        channels_first = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).contiguous()
        return network(channels_first).cpu().numpy()

    return features


def measure(file: pathlib.Path, against: list[str], *, batch: int, rounds: int, seconds: float) -> dict:
    """Times a batch size; `seconds`: about how long a turn takes."""
    images = np.random.default_rng(0).uniform(-1, 1, (batch, inception.SIZE, inception.SIZE, 3)).astype(np.float32)

    def system(make: Callable) -> report.System:
        features = make(file)
        turn = alternate.one_by_one(lambda: features(images))
        return report.System(turn=turn, precision="float32, no TF32", how="host to host")

    print(f"batch {batch}", flush=True)
    return report.compare(
        lambda: system(jax_features),
        {"torch": lambda: system(torch_features)} if against else {},
        rounds=rounds,
        seconds=seconds,
        images=batch,
        gflop=gflop(batch),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", action="append", choices=("torch",), default=[])
    parser.add_argument("--batch", default="1,16,32", help="sizes")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5, help="a turn")
    parser.add_argument("--inception", default="", metavar="FILE", help="weights; else PIX2PIX_INCEPTION")
    arguments = parser.parse_args()
    found, result = machine.facts(*arguments.against), {"batches": {}}
    report.begin(found, "the Inception network of FID")
    with tempfile.TemporaryDirectory() as place:
        file = weights.find(weights.INCEPTION, arguments.inception)
        print(f"weights {'of ' + str(file) if file else 'random'}")
        file = file or write_random(pathlib.Path(place) / "inception.npz")
        options = {"rounds": arguments.rounds, "seconds": arguments.seconds}
        for batch in map(int, arguments.batch.split(",")):
            result["batches"][batch] = measure(file, arguments.against, batch=batch, **options)
    report.finish("inception", found, result)


if __name__ == "__main__":
    main()
