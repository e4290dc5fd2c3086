"""Freed memory stays with the process: seen from a process of its own, as it cannot be undone."""

import subprocess
import sys

import pytest

from pix2pix_jax.runtime import allocator

PROGRAM = """
import resource, sys, threading
from pix2pix_jax.runtime import allocator
kept = allocator.keep_freed_memory() if sys.argv[1] == "keep" else False
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        b"x" * 100_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def run():
    faults()
    print(kept, faults())
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


def faults(mode: str) -> tuple[str, int]:
    command = [sys.executable, "-c", PROGRAM, mode]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env={"JAX_PLATFORMS": "cpu"})
    kept, count = answer.stdout.split()
    return kept, int(count)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_not_fetched_from_the_kernel_again():
    kept, count = faults("keep")
    assert kept == "True"
    assert count < 100
    assert faults("not")[1] > 1000  # 4 x 100 MB are 97,656 pages of 4 kB


def test_nothing_is_done_beside_an_accelerator(monkeypatch, tmp_path):
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(allocator, "_ACCELERATORS", (f"{tmp_path}/nvidia[0-9]*",))
    monkeypatch.setenv("JAX_PLATFORMS", "")
    assert not allocator.keep_freed_memory()
