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
    "tensorboardX": "no TensorBoard events are written",
    "grain": "no worker processes that read, threads only",
    "tensorflow_datasets": "published sets only from their own files, by --data_dir",
}


def set_up() -> list[str]:
    """Puts the checkout on the path, its configs into the package, and stand-ins for what is missing.

    Returns:
      the packages that are missing.
    """
    missing = [name for name in OPTIONAL if importlib.util.find_spec(name) is None]
    sys.path.append(str(STANDINS))
    if importlib.util.find_spec("pix2pix_jax") is None:
        sys.path.insert(0, str(ROOT))
    import pix2pix_jax

    if importlib.util.find_spec("pix2pix_jax.configs") is None:  # an installed package has configs/ as this
        pix2pix_jax.__path__.append(str(pathlib.Path(pix2pix_jax.__path__[0]).parent))
    return missing


def say_missing(missing: list[str]) -> None:
    if missing:
        print(f"missing: {'; '.join(f'{name} ({OPTIONAL[name]})' for name in missing)}", file=sys.stderr)


missing = set_up()

if __name__ == "__main__":
    from pix2pix_jax import cli

    cli.run()
elif "CHECKOUT_SAID" not in os.environ:  # once, not again by the processes that a benchmark starts
    os.environ["CHECKOUT_SAID"] = "1"
    say_missing(missing)
