"""The same batches from any number of worker processes and of JAX processes."""

import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.data.reading import ExampleOrder, read_steps
from pix2pix_jax.data.sources.datasets import open_source
from pix2pix_jax.errors import UserError

pytestmark = pytest.mark.heavy

# What each of the processes runs: prints the bytes of its devices' shares of three batches, in hexadecimal.
PROGRAM = """
import sys
import jax
import numpy as np
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8 // int(sys.argv[2]))
if int(sys.argv[2]) > 1:
    jax.distributed.initialize(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
from pix2pix_jax.runtime import meshes
from pix2pix_jax.data import pipeline
from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.data.sources.datasets import open_source
source = open_source("folder", "train", data_dir=sys.argv[4], size=(1, 1), seed=0)
pairs = PairedDataset(source, "AtoB", (16, 16), preprocess=sys.argv[5])
mesh = meshes.make_mesh(batch_size=8)
meshes.free_memory()
stream = pipeline.batches(pairs, mesh, batch_size=8, seed=1, start=12345, residency=sys.argv[6])
for step in range(3):
    batch = next(stream)
    for shard in sorted(batch["input"].addressable_shards, key=lambda shard: shard.index[0].start):
        print("shard", step, shard.index[0].start, np.asarray(shard.data).tobytes().hex())
stream.close()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "train"
    folder.mkdir()
    for i in range(11):
        pixels = np.random.default_rng(i).integers(0, 256, (20 + i, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder.parent


def shards(folder, *, processes: int, preprocess: str, residency: str) -> set[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    root = str(pathlib.Path(__file__).resolve().parents[2])
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"PYTHONPATH": root}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, address, str(processes), str(rank), str(folder), preprocess, residency],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(processes)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in running]
    assert [process.returncode for process in running] == [0] * processes
    return {line for output in outputs for line in output.splitlines() if line.startswith("shard")}


@pytest.mark.parametrize(
    ("preprocess", "residency"), [("crop", "host"), ("resize_and_crop", "device"), ("resize_and_crop", "sharded")]
)
def test_two_processes_make_up_the_batches_of_one(folder, preprocess, residency):
    alone, together = (shards(folder, processes=n, preprocess=preprocess, residency=residency) for n in (1, 2))
    assert len(alone) == 24 and together == alone


def test_any_number_of_workers_reads_the_same(folder):
    source = open_source("folder", "train", data_dir=str(folder), size=(1, 1), seed=0)
    pairs = PairedDataset(source, "AtoB", (16, 16), preprocess="crop")
    found = []
    for workers in (0, 1, 2):
        stream = read_steps(pairs, ExampleOrder(11, 2, 5), np.arange(2), start=12_345, num_workers=workers)
        found.append([next(stream) for _ in range(5)])
        stream.close()
    for batches in found[1:]:
        for batch, expected in zip(batches, found[0], strict=True):
            for name in expected:
                np.testing.assert_array_equal(batch[name], expected[name])


def test_a_worker_hands_on_what_is_wrong_with_a_file(folder):
    source = open_source("folder", "train", data_dir=str(folder), size=(1, 1), seed=0)
    stream = read_steps(
        PairedDataset(source, "AtoB", (24, 16), preprocess="crop"),
        ExampleOrder(11, 1, 5),
        np.arange(1),
        start=0,
        num_workers=1,
    )
    with pytest.raises(UserError, match=r"under config.preprocess=crop, but config.image_size is 24x16 \(HxW\)"):
        for _ in range(11):
            next(stream)
    stream.close()
