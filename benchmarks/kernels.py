"""Compiles the programs for a GPU that is not there, and says what they launch and the bytes that kernels move.

    python benchmarks/kernels.py --config.batch_size=64 --config.compute_dtype=bfloat16
    python benchmarks/kernels.py --forms=default    # convolutions as XLA's own, for comparison
    python benchmarks/kernels.py --program=translate --config.batch_size=16
    python benchmarks/kernels.py --devices=8 --config.batch_size=8

Needs `pip install '.[cuda]'`, for the compiler alone, and half a minute. Nothing is timed: the least time is that of
the bytes at the bandwidth that a copy reaches on an H200. Of what a kernel reads a part of, the whole counts. XLA
cannot try algorithms without the GPU, so how it splits matrix products is not what it would choose there.
"""

import os

os.environ["JAX_PLATFORMS"] = "cpu"  # what is traced on the way to the compiler
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0"

import argparse
import collections
import json
import pathlib
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import bare
import hlo
import jax
from jax.experimental import topologies

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.errors import UserError

PROGRAMS = {"train": bare.trace, "translate": bare.trace_translation}
BANDWIDTH = 4.3e12  # bytes/s

# XLA's GpuTargetConfigProto.
H200 = """
gpu_device_info {
  threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: 2048  core_count: 132  fpus_per_core: 128
  shared_memory_per_block: 49152  shared_memory_per_block_optin: 232448  shared_memory_per_core: 233472
  registers_per_block_limit: 65536  registers_per_core_limit: 65536  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535  block_dim_limit_z: 65535  memory_bandwidth: 4800000000000  l2_cache_size: 52428800
  clock_rate_ghz: 1.98  device_memory_size: 150000000000  cuda_compute_capability { major: 9 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 9 }
device_description_str: "NVIDIA H200"
"""

_LIBRARY = re.compile(r'custom_call_target="(?P<name>[^"]+)"')
_FUSION = re.compile(r"kind=(?P<name>\w+)")
_FUSIONS = {"kLoop": "elementwise", "kInput": "reductions, transposes", "kCustom": "matrix products"}


def make_devices(count: int) -> list[jax.Device]:
    """Makes devices to compile for, which cannot run anything. Raises UserError without the compiler."""
    try:
        return topologies.get_topology_desc("h200", "cuda", target_config=H200, topology=f"1x1x{count}").devices
    except NotImplementedError as error:
        raise UserError(f"{error}: the compiler comes with pip install '.[cuda]'") from None


def kind(instruction: hlo.Instruction) -> str:
    """Names what an instruction launches."""
    if library := _LIBRARY.search(instruction.rest):
        name = library["name"]
        return "convolutions" if "conv" in name else "matrix products" if "cublas" in name else name
    if fusion := _FUSION.search(instruction.rest):
        return _FUSIONS.get(fusion["name"], fusion["name"])
    return instruction.op.removesuffix("-start")


def summarise(launches: Iterable[tuple[hlo.Instruction, int]]) -> dict[str, dict[str, int]]:
    """Sums up launches and bytes by kind, most bytes first."""
    summary: dict[str, dict[str, int]] = collections.defaultdict(lambda: {"launches": 0, "bytes": 0})
    for instruction, num_bytes in launches:
        entry = summary[kind(instruction)]
        entry["launches"] += 1
        entry["bytes"] += num_bytes
    return dict(sorted(summary.items(), key=lambda item: -item[1]["bytes"]))


def report(launches: Iterable[tuple[hlo.Instruction, int]], about: Mapping[str, Any]) -> None:
    by_kind = summarise(launches)
    total = {name: sum(entry[name] for entry in by_kind.values()) for name in ("launches", "bytes")}
    print(f"{'':24} launches        MB")
    for name, entry in [*by_kind.items(), ("all", total)]:
        print(f"{name[:24]:24} {entry['launches']:8} {entry['bytes'] / 1e6:9.0f}")
    least = total["bytes"] / BANDWIDTH
    print(f"{1e3 * least:.2f} ms at least, for the bytes at {BANDWIDTH / 1e12:g} TB/s")
    print(json.dumps({**about, "kinds": by_kind, **total, "least_ms": 1e3 * least}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--config", default="default")
    parser.add_argument("--program", choices=PROGRAMS, default="train")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--forms", default="gpu", help="of convolutions: of which platform, or default")
    parser.add_argument("--save", type=pathlib.Path, help="writes the compiled program's text here")
    arguments, overrides = parser.parse_known_args()
    try:
        config = config_lib.load(arguments.config, overrides)
        devices = make_devices(arguments.devices)
        mesh = bare.make_mesh(config, devices)
    except UserError as error:
        sys.exit(f"error: {error}")
    text = PROGRAMS[arguments.program](config, mesh, arguments.forms).lower().compile().as_text()
    if arguments.save:
        arguments.save.write_text(text)
    about = {name: getattr(arguments, name) for name in ("program", "forms", "devices")}
    about |= {"overrides": overrides, "jax": jax.__version__}
    report(hlo.launches(text), about)


if __name__ == "__main__":
    main()
