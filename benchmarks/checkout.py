"""Lets the benchmarks run from a plain checkout, also where packages of pix2pix_jax are missing: imported before it.

    python benchmarks/checkout.py train --config=facades --workdir=DIR    # `pix2pix train ...`, likewise

What is missing is said on stderr, in a line.
"""

import importlib.util
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
STANDINS = ROOT / "benchmarks" / "standins"
# Package -> what the benchmarks do without it. Others that setup.cfg names are needed by what is not timed here.
OPTIONAL = {
    "ml_collections": "configs by a stand-in, overrides by ast.literal_eval",
    "clu": "no overview of parameters",
    "tensorboard": "no TensorBoard events are written",
    "google_crc32c": "those that are written have no checksums",
    "grain": "no worker processes that read, threads only",
    "tensorflow_datasets": "published sets only from their own files, by --data_dir",
}


def set_up() -> bool:
    """Puts the checkout on the path, its configs into the package, and stand-ins for what is missing.

    Returns:
      whether that was needed: `python -m pix2pix_jax` would fail.
    """
    missing = find_missing()
    sys.path.append(str(STANDINS))
    absent = importlib.util.find_spec("pix2pix_jax") is None
    if absent:
        sys.path.insert(0, str(ROOT))
    import pix2pix_jax

    without_configs = importlib.util.find_spec("pix2pix_jax.configs") is None
    if without_configs:  # an installed package has the folder configs/ as this
        pix2pix_jax.__path__.append(str(pathlib.Path(pix2pix_jax.__path__[0]).parent))
    return bool(missing) or absent or without_configs


def find_missing() -> list[str]:
    return [name for name in OPTIONAL if importlib.util.find_spec(name) is None]


def say_missing() -> None:
    """Once, not again by the processes that a benchmark starts."""
    missing = find_missing()
    if missing and "PIX2PIX_SAID" not in os.environ:
        os.environ["PIX2PIX_SAID"] = "1"
        print(f"missing: {'; '.join(f'{name} ({OPTIONAL[name]})' for name in missing)}", file=sys.stderr)


def program() -> list[str]:
    """The beginning of a command line, to be followed by train, evaluate ..."""
    return [sys.executable, __file__] if helped else [sys.executable, "-m", "pix2pix_jax"]


say_missing()
helped = set_up()

from pix2pix_jax import allocator, cli  # noqa: E402, found only now

if __name__ == "__main__":
    cli.run()
else:
    allocator.keep_freed_memory()  # as cli.run does; systems of the same process gain by it too
