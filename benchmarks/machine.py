"""Describes the machine on which figures are measured.

python benchmarks/machine.py [PACKAGE ...]    # as JSON; the versions of these packages with it
"""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

import jax


def facts(*packages: str) -> dict[str, Any]:
    """Returns devices, processor, versions, date (UTC) and the commit of this repository, "" outside a clone of it.

    Args:
      *packages: names of packages whose versions matter; those that are not installed are left out.
    """
    return {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": _commit(),
        "packages": {name: version for name in packages if (version := _version(name))},
    }


def ask(*packages: str) -> dict[str, Any]:
    """Returns `facts` from another process: this one would keep the devices from the programs that it starts."""
    command = [sys.executable, __file__, *packages]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def describe(found: dict[str, Any]) -> str:
    """Describes a machine in one line."""
    accelerators = f"{devices(found)}, " if found["device"] != "cpu" else ""
    packages = "".join(f", {name} {version}" for name, version in found.get("packages", {}).items())
    commit = f", commit {found['commit']}" if found["commit"] else ""
    return (
        f"{accelerators}{found['cores']} cores of {found['processor']}, Python {found['python']}, jax {found['jax']}"
        f"{packages}, {found['date']}{commit}"
    )


def devices(found: dict[str, Any]) -> str:
    return "CPU" if found["device"] == "cpu" else f"{found['devices']} x {found['device']}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    """Returns the commit, with "-changed" if files of the repository differ from it."""
    command = ("git", "describe", "--always", "--dirty=-changed", "--exclude=*")
    try:
        answer = subprocess.run(command, cwd=pathlib.Path(__file__).parent, capture_output=True, text=True)
    except OSError:
        return ""
    return answer.stdout.strip()


if __name__ == "__main__":
    print(json.dumps(facts(*sys.argv[1:])))
