"""Compiles the train step for TPU slices that are not there, on a CPU, and says what a step costs each chip.

    python benchmarks/pods.py --topology=v5e:4x4 --config.batch_size=16    # any config, any of its fields
    python benchmarks/pods.py --suite    # the cases of docs/scaling.md that pods.jsonl lacks, each in a process

Needs `pip install '.[tpu]'`, for the compiler alone, and minutes a case. What is compiled is what `pix2pix train` runs.
Prints memory, FLOPs, bytes accessed, collectives by kind, and as the last line JSON. Topologies: v5e:1x1, 2x2, 2x4 ...
16x16; v4:2x2x1, 2x2x2 ... 4x8x8; a device is a chip, as on Google's TPU VMs.
"""

import os

os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # libtpu would ask this machine's metadata which TPU it has
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # it would lock chips that nobody uses here
os.environ["JAX_PLATFORMS"] = "cpu"  # what is traced on the way to the compiler

import argparse
import json
import pathlib
import sys
import time
from typing import Any

import bare
import hlo
import jax
import report
import scaling
from jax.experimental import topologies

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.errors import UserError

BFLOAT16 = "--config.compute_dtype=bfloat16"
LARGE = ("--config.image_size=1024,2048", "--config.resize_size=1144,2288", BFLOAT16)  # Cityscapes' size
SUITE = (
    ("v5e:4x4", "--config.batch_size=16"),
    ("v5e:16x16", "--config.batch_size=2048", BFLOAT16),
    ("v4:4x4x4", "--config.batch_size=512", BFLOAT16),
    ("v5e:2x2", "--config.batch_size=128", BFLOAT16),
    ("v5e:2x4", "--config.batch_size=2", "--config.mesh.rows=4", *LARGE),
    ("v5e:2x2", "--config.batch_size=2", "--config.mesh.rows=2", *LARGE),
    ("v5e:4x4", "--config.batch_size=16", "--config.shard_optimizer=True"),
    ("v4:2x2x1", "--config.batch_size=4"),
    ("v4:2x2x1", "--config.batch_size=128", BFLOAT16),
)


def make_devices(topology: str) -> list[jax.Device]:
    """Makes a topology's devices to compile for, which cannot run anything. Raises UserError for no such one."""
    options: dict[str, Any] = {"chip_config_name": "megacore"} if topology.startswith("v4") else {}
    if topology == "v5e:1x1":
        options["chips_per_host_bounds"] = [1, 1, 1]
    try:
        return topologies.get_topology_desc(topology, "tpu", **options).devices
    except Exception as error:  # the compiler raises many types
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"--topology={topology}: {reason}; use such as v5e:4x4, with pip install '.[tpu]'") from None


def costs(compiled: jax.stages.Compiled, *, num_devices: int) -> dict[str, Any]:
    """Returns what a step costs one chip: bytes, FLOPs, collectives."""
    cost, text = compiled.cost_analysis(), compiled.as_text()
    return {
        **bare.memory(compiled),
        "flops": cost["flops"],
        "bytes_accessed": cost["bytes accessed"],
        "memory_traffic": hlo.memory_traffic(text),
        "collectives": hlo.summarise(hlo.collectives(text, num_devices=num_devices)),
    }


def measure(topology: str, name: str, overrides: list[str], save: pathlib.Path | None = None) -> dict[str, Any]:
    """Compiles one case and returns its line of pods.jsonl; writes the compiled program's text to `save`."""
    config = config_lib.load(name, overrides)
    devices = make_devices(topology)
    mesh = bare.make_mesh(config, devices)
    begin = time.monotonic()
    result = {
        "topology": topology,
        "config": name,
        "overrides": overrides,
        "mesh": dict(mesh.shape),
        "batch_size": config.batch_size,
        "jax": jax.__version__,
    }
    try:
        compiled = bare.trace(config, mesh).lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return result | {"error": next(line for line in str(error).splitlines() if "RESOURCE_EXHAUSTED" in line)}
    if save:
        save.write_text(compiled.as_text())
    seconds = round(time.monotonic() - begin)
    return result | {"compile_seconds": seconds} | costs(compiled, num_devices=mesh.size)


def show(result: dict[str, Any]) -> None:
    print(scaling.costs_table([result]))
    if "error" not in result:
        print(scaling.scaling_table([result]))
    print(json.dumps(result))


def run_suite() -> None:
    """Adds to pods.jsonl the cases that it lacks."""
    done = {(result["topology"], *result["overrides"]) for result in report.read_lines(scaling.RESULTS)}
    for topology, *overrides in SUITE:
        if (topology, *overrides) not in done:
            report.run_case([__file__, f"--topology={topology}", *overrides], scaling.RESULTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--topology", default="v5e:2x2")
    parser.add_argument("--config", default="default")
    parser.add_argument("--suite", action="store_true")
    parser.add_argument("--save", type=pathlib.Path, help="writes the compiled program's text here")
    arguments, overrides = parser.parse_known_args()
    if arguments.suite:
        run_suite()
        return
    try:
        show(measure(arguments.topology, arguments.config, overrides, arguments.save))
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
