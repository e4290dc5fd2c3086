"""Checks a machine before a run, and says of each fault what to do: `pix2pix doctor`."""

import contextlib
import dataclasses
import glob
import json
import os
import pathlib
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata

import psutil
from etils import epath

from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.io import storage
from pix2pix_jax.runtime import caches, distributed
from pix2pix_jax.workdir import lock

# In a process of its own: drivers hang, flags abort, and a GPU whose memory is taken here would be missing later.
_DEVICES_PROGRAM = """
import json, jax, jax.numpy as jnp
devices = jax.local_devices()
x = jnp.ones((1, 8, 8, 4))
y = jax.jit(lambda x, k: jax.lax.conv_general_dilated(x, k, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
jax.block_until_ready(y(x, jnp.ones((4, 4, 4, 4))))
stats = devices[0].memory_stats() or {}
print(json.dumps({"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices),
                  "bytes": stats.get("bytes_limit", 0)}))
"""
_PATIENCE = 120  # seconds, for the devices to answer
_NEEDS_DRIVER = {"12": 525, "13": 580}  # CUDA version -> NVIDIA's oldest driver for it
_LEAST_MEMORY, _LEAST_DISK = 4e9, 5e9  # bytes; 5 GB hold the checkpoints that a run of the default config keeps


@dataclasses.dataclass(frozen=True)
class Finding:
    """Holds a line of the report.

    Attributes:
      level: "ok", "note" (a run goes, but maybe not as wished) or "fault".
      text: what was found, and what to do about it.
    """

    level: str
    text: str

    def __str__(self) -> str:
        return f"{self.level:<5}  {self.text}"


def examine(workdir: epath.PathLike | None = None) -> Iterator[Finding]:
    """Yields findings, one check after the other; `workdir` is that of the run to come, if known."""
    checks: list[Callable[[], Iterator[Finding]]] = [_versions, _devices, _memory, _peers, _compile_cache, _temporary]
    if workdir is not None:
        checks.append(lambda: _workdir(workdir))
    for check in checks:
        yield from check()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _versions() -> Iterator[Finding]:
    jax, jaxlib = _version("jax"), _version("jaxlib")
    names = ", ".join(f"{name} {_version(name)}" for name in ("jax", "jaxlib", "flax", "orbax-checkpoint"))
    yield Finding("ok", f"versions: Python {platform.python_version()}, {names}")
    yield from compare_versions(
        jax or "", jaxlib or "", {f"jax-cuda{n}-plugin": _version(f"jax-cuda{n}-plugin") for n in (12, 13)}
    )


def compare_versions(jax: str, jaxlib: str, plugins: dict[str, str | None]) -> Iterator[Finding]:
    """Yields a fault for each package that is of another version than jax; `plugins` maps names to versions or None."""
    for name, version in {"jaxlib": jaxlib, **plugins}.items():
        if version and version.split(".")[:2] != jax.split(".")[:2]:
            yield Finding(
                "fault", f"versions: {name} is {version} and jax {jax}; pip install -U 'jax=={jax}' '{name}=={jax}'"
            )
    if sum(bool(version) for version in plugins.values()) > 1:
        yield Finding("fault", f"versions: {' and '.join(plugins)} are both installed; pip uninstall one of them")


def _devices() -> Iterator[Finding]:
    found = ask_devices()
    if isinstance(found, Finding):
        yield found
    else:
        memory = f", {found['bytes'] / 1e9:.0f} GB for JAX each" if found["bytes"] else ""
        yield Finding("ok", f"devices: {found['count']} x {found['kind']}{memory}; a convolution runs")
    on_cpu = not isinstance(found, Finding) and found["platform"] == "cpu"
    asked_for_cpu = os.environ.get("JAX_PLATFORMS") == "cpu"
    if glob.glob("/dev/nvidia[0-9]*"):
        yield from driver_findings(
            _driver(),
            uses_gpu=not on_cpu,
            plugin=next(filter(_version, ("jax-cuda13-plugin", "jax-cuda12-plugin")), ""),
        )
    elif on_cpu and not asked_for_cpu and (glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")):
        yield Finding("note", "devices: this may be a TPU host, but JAX has no TPU; pip install '.[tpu]'")
    elif on_cpu:
        yield Finding(
            "note",
            "devices: no GPU and no TPU here; a CPU needs 9 hours or more for the 80,000 steps of facades at 256 px",
        )


def ask_devices(patience: float = _PATIENCE) -> dict | Finding:
    """Returns what JAX finds here, {"platform", "kind", "count", "bytes"}, or why it finds nothing."""
    command = [sys.executable, "-c", _DEVICES_PROGRAM]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=False)
        if done.returncode == 0:
            return json.loads(done.stdout.splitlines()[-1])
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"it ended with {done.returncode}"]
        wrong = next((line for line in lines if "nknown flag" in line), lines[-1])
        reason = printable(wrong.strip(), 300)
    except subprocess.TimeoutExpired:
        reason = (
            f"no answer in {patience:.0f} s; does another program hold them, or are other hosts of the slice missing?"
        )
    settings = [f"{name}={os.environ[name]}" for name in ("JAX_PLATFORMS", "XLA_FLAGS") if os.environ.get(name)]
    remedy = f"check {' '.join(settings)}" if settings else "check the driver, and the extra that was installed"
    return Finding("fault", f"devices: JAX cannot use them ({reason}); {remedy}")


def _driver() -> str:
    """Returns the version of NVIDIA's driver; "" if it is not loaded."""
    with contextlib.suppress(OSError):
        text = pathlib.Path("/proc/driver/nvidia/version").read_text()
        if match := re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", text):
            return match[1]
    return ""


def driver_findings(driver: str, *, uses_gpu: bool, plugin: str) -> Iterator[Finding]:
    """Yields what is to say of an NVIDIA GPU: `driver` is its version or "", `plugin` JAX's package for CUDA or ""."""
    if not driver:
        yield Finding("fault", "driver: there is a GPU, but NVIDIA's driver is not loaded; install it, or start again")
        return
    cuda, major = (re.search(r"\d+", plugin) or [""])[0], int(driver.split(".")[0])
    if not plugin:
        extra = "cuda13" if major >= _NEEDS_DRIVER["13"] else "cuda12"
        yield Finding("fault", f"driver: {driver}, but JAX has no CUDA; pip install '.[{extra}]'")
    elif major < _NEEDS_DRIVER[cuda]:
        lower = (
            "; or pip uninstall it and pip install '.[cuda12]'" if cuda == "13" and major >= _NEEDS_DRIVER["12"] else ""
        )
        yield Finding("fault", f"driver: {driver}, but {plugin} needs {_NEEDS_DRIVER[cuda]} or newer; update it{lower}")
    elif not uses_gpu:
        yield Finding(
            "note", f"driver: {driver} and {plugin} are there, but JAX uses the CPU; is JAX_PLATFORMS=cpu set?"
        )
    else:
        yield Finding("ok", f"driver: {driver}, CUDA {cuda}")


def _memory() -> Iterator[Finding]:
    free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    text = f"memory: {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    if free < _LEAST_MEMORY:
        yield Finding(
            "note", f"{text}; the default config needs about 4 on a CPU: end other programs, or use fewer features"
        )
    else:
        yield Finding("ok", text)


def _peers() -> Iterator[Finding]:
    try:
        wanted = distributed.from_environment()
    except UserError as error:
        yield Finding("fault", f"peers: {error}")
        return
    if not wanted:
        return
    address, index = wanted["coordinator_address"], wanted["process_id"]
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        yield Finding("fault", f"peers: JAX_COORDINATOR_ADDRESS={address}; must be HOST:PORT of process 0")
        return
    try:
        if index == 0:
            with socket.create_server(("", int(port))):
                yield Finding("ok", f"peers: port {port} is free for process 0 of {wanted['num_processes']}")
        else:
            socket.create_connection((host, int(port)), timeout=5).close()
            yield Finding("ok", f"peers: process 0 answers at {address}")
    except socket.gaierror:
        yield Finding("fault", f"peers: no such host as {host}; check JAX_COORDINATOR_ADDRESS, or use its IP address")
    except (OSError, OverflowError) as error:
        level, remedy = "note", "start process 0, and let the firewall pass that port"
        if index == 0:
            level, remedy = "fault", "the port is taken; choose another one in all processes"
        yield Finding(level, f"peers: {address}: {getattr(error, 'strerror', None) or error}; {remedy}")


def _compile_cache() -> Iterator[Finding]:
    told = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = pathlib.Path(told) if told else caches.folder("xla")
    advice = "name a folder that can be written in JAX_COMPILATION_CACHE_DIR, or every start compiles anew"
    if told and "://" in told:
        yield Finding("ok", f"compile cache: {told}")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        size = sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
        yield Finding("ok", f"compile cache: {size / 1e6:.0f} MB in {folder}")
    except OSError as error:
        yield Finding("note", f"compile cache: {folder}: {error.strerror}; {advice}")


def _temporary() -> Iterator[Finding]:
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError:
        yield Finding("fault", "temporary files: no folder for them can be written; set TMPDIR to one that can")
        return
    free = shutil.disk_usage(folder).free
    if free < 1e9:
        yield Finding("note", f"temporary files: {free / 1e9:.1f} GB free in {folder}; set TMPDIR to a larger disk")


def _workdir(workdir: epath.PathLike) -> Iterator[Finding]:
    try:
        folder = storage.folder(workdir)
        place = folder
        while not storage.is_object(place) and not place.exists() and place != place.parent:
            place = place.parent
        probe = place / f".doctor-{socket.gethostname()}-{os.getpid()}"
        storage.write(probe, b"pix2pix doctor")
        storage.delete(probe)
        lock.check(folder)
    except UserError as error:
        yield Finding("fault", f"workdir: {error}")
        return
    except OSError as error:
        yield Finding(
            "fault", f"workdir: {workdir}: {error.strerror}; choose another --workdir, or change its permissions"
        )
        return
    if storage.is_object(place):
        yield Finding("ok", f"workdir: {workdir} can be written")
        return
    free = shutil.disk_usage(place).free
    text = f"workdir: {workdir} can be written, {free / 1e9:.0f} GB free"
    few = free < _LEAST_DISK
    yield Finding(
        "note" if few else "ok", f"{text}; a run may keep 3 to 5 GB of checkpoints: make room" if few else text
    )
