"""The batch of step s: the same whoever asks, from wherever it comes."""

import dataclasses
import functools
import itertools
import subprocess
import sys

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pix2pix_jax.data import reading
from pix2pix_jax.data.augment import Augmentation, crop_and_mirror
from pix2pix_jax.data.device_resizing import defer, shared_size
from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.data.pipeline import batches, choose_residency
from pix2pix_jax.data.reading import Cache, ExampleOrder, load_step, stack
from pix2pix_jax.runtime import meshes


class Numbered:
    """Pairs of 4x6 pixels: A holds its index, B 255 less that."""

    def __init__(self, count: int):
        self.names = [str(i) for i in range(count)]

    def pair(self, index, channels):
        return np.full((4, 6, channels[0]), index, np.uint8), np.full((4, 6, channels[1]), 255 - index, np.uint8)


def pairs(count: int = 10) -> PairedDataset:
    return PairedDataset(Numbered(count), "AtoB", (4, 6), input_channels=1)


def walk(order, steps: int) -> np.ndarray:
    """The example indices of the first steps, one after the other."""
    return np.concatenate([order[s] for s in range(steps)])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**31 - 1))
def test_every_epoch_holds_every_example_once_however_batches_fall(count, batch_size, seed):
    """Batches run on across the ends of epochs: nothing is dropped, nothing repeated."""
    order = ExampleOrder(count, batch_size=batch_size, seed=seed)
    positions = walk(order, -(-3 * count // batch_size))[: 3 * count]
    np.testing.assert_array_equal(np.sort(positions.reshape(3, count)), np.tile(np.arange(count), (3, 1)))


def test_every_epoch_is_a_fresh_permutation():
    epochs = walk(ExampleOrder(20, batch_size=4, seed=0), 50).reshape(10, 20)
    assert len({tuple(epoch) for epoch in epochs}) == 10
    assert tuple(range(20)) not in {tuple(epoch) for epoch in epochs}


def test_the_order_depends_on_the_seed_alone():
    first, again, other = (walk(ExampleOrder(20, batch_size=4, seed=seed), 5) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_far_step_asked_directly_is_the_one_walked_to():
    step, options = 12_345, {"batch_size": 2, "seed": 5}
    walked = walk(ExampleOrder(2000, **options), step + 1)[-2:]
    np.testing.assert_array_equal(ExampleOrder(2000, **options)[step], walked)


def test_the_batch_size_does_not_change_the_order():
    whole = walk(ExampleOrder(10, batch_size=6, seed=3), 10)
    np.testing.assert_array_equal(walk(ExampleOrder(10, batch_size=4, seed=3), 15), whole)


@pytest.mark.parametrize("start", [0, 7])
@pytest.mark.parametrize("devices", [1, 4])
def test_host_and_device_give_the_same_batches(devices, start):
    mesh = meshes.make_mesh(batch_size=4, data=devices)
    order = ExampleOrder(10, batch_size=4, seed=2)
    streams = [
        batches(pairs(), mesh, batch_size=4, seed=2, start=start, residency=residency)
        for residency in ("host", "device")
    ]
    for step, (host, device) in enumerate(itertools.islice(zip(*streams, strict=True), 5), start=start):
        expected = stack(pairs()[int(i)] for i in order[step])
        assert expected["input"].shape == (4, 4, 6, 1) and expected["target"].shape == (4, 4, 6, 3)
        for name, pixels in expected.items():
            for batch in (host, device):
                assert batch[name].dtype == np.uint8
                assert batch[name].sharding.is_equivalent_to(meshes.batch_sharding(mesh), 4)
                np.testing.assert_array_equal(batch[name], pixels)


def test_auto_takes_device_memory_for_a_quarter_of_it_at_most(monkeypatch):
    assert pairs(10).num_bytes == 10 * 4 * 6 * 4
    monkeypatch.setattr(meshes, "free_memory", lambda: 4 * 960)
    assert choose_residency(pairs(10)) == "device"
    assert choose_residency(pairs(11)) == choose_residency(pairs(1), "host") == "host"


def test_examples_are_loaded_by_index():
    batch = stack(pairs()[i] for i in (3, 9))
    np.testing.assert_array_equal(batch["input"][:, 0, 0, 0], [3, 9])
    np.testing.assert_array_equal(batch["target"][:, 0, 0, 0], [252, 246])


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_one_process_reads_the_whole_batch(devices):
    mesh = meshes.make_mesh(batch_size=4, data=devices, rows=2)
    indices = np.array([5, 3, 8, 1])
    np.testing.assert_array_equal(meshes.local_slice(indices, mesh), indices)
    np.testing.assert_array_equal(jax.device_get(meshes.from_local(indices, mesh)), indices)


class Drawn:
    """Pairs of pictures of the given sizes."""

    def __init__(self, *sizes: tuple[int, int]):
        self.names, self._sizes = [str(i) for i in range(12)], sizes

    def pair(self, index, channels):
        size = self._sizes[index % len(self._sizes)]
        picture = np.random.default_rng(index).integers(0, 256, (*size, 3), np.uint8)
        return picture, 255 - picture


ONE_SIZE = PairedDataset(Drawn((24, 24)), "AtoB", (30, 30))
SIZES = PairedDataset(Drawn((24, 24), (30, 26), (40, 32)), "AtoB", (30, 30))
CROPS = PairedDataset(Drawn((24, 24), (30, 26), (40, 32)), "AtoB", (16, 20), preprocess="crop")


def some(pairs, mesh, *, start=0, steps=4, **options):
    """The first batches as arrays."""
    stream = batches(pairs, mesh, batch_size=4, seed=2, start=start, **options)
    found = [jax.device_get(batch) for batch in itertools.islice(stream, steps)]
    stream.close()
    return found


def assert_same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("devices", [1, 4])
def test_shards_give_the_same_batches_as_copies(devices):
    mesh = meshes.make_mesh(batch_size=4, data=devices)
    assert_same(some(ONE_SIZE, mesh, residency="sharded"), some(ONE_SIZE, mesh, residency="device"))


@pytest.mark.parametrize("pairs", [ONE_SIZE, SIZES], ids=["one size", "several"])
def test_resized_on_the_device_or_the_host_the_pixels_are_the_same(pairs):
    mesh = meshes.make_mesh(batch_size=4, data=2)
    assert shared_size(pairs) == (24, 24)
    on_device = some(dataclasses.replace(pairs, own_size=(24, 24)), mesh, residency="host")
    assert_same(on_device, some(pairs, mesh, residency="host"))


def test_only_what_pays_is_left_to_the_device(monkeypatch):
    assert shared_size(CROPS) is None
    assert shared_size(PairedDataset(Drawn((30, 30)), "AtoB", (30, 30))) is None  # nothing to resize
    assert shared_size(PairedDataset(Drawn((300, 300)), "AtoB", (30, 30))) is None  # much to transfer
    mesh = meshes.make_mesh(batch_size=1)
    assert defer(ONE_SIZE, mesh) is ONE_SIZE  # a CPU
    monkeypatch.setattr(meshes, "platform", lambda mesh: "gpu")
    assert defer(ONE_SIZE, mesh).own_size == (24, 24) and defer(CROPS, mesh).own_size is None


def test_augmented_batches_are_the_same_from_host_and_device():
    mesh = meshes.make_mesh(batch_size=4, data=4)
    move = jax.jit(
        functools.partial(crop_and_mirror, size=(24, 24), mirror=True, more=Augmentation(rot90=True, noise=0.1))
    )
    host, device, shards = (
        [move(batch, jax.random.key(step)) for step, batch in enumerate(some(ONE_SIZE, mesh, residency=residency))]
        for residency in ("host", "device", "sharded")
    )
    assert_same(host, device)
    assert_same(shards, device)


def test_random_windows_start_anywhere():
    """Step 9 asked directly is step 9 after a walk, and other steps have other windows."""
    mesh = meshes.make_mesh(batch_size=4, data=2)
    walked = some(CROPS, mesh, steps=10, residency="host")
    assert_same(some(CROPS, mesh, start=9, steps=1, residency="host"), walked[9:])
    assert walked[0]["input"].shape == (4, 16, 20, 3)
    assert choose_residency(CROPS) == "host"


def loader(pairs, slots):
    order = ExampleOrder(len(pairs), batch_size=8, seed=1)
    return functools.partial(load_step, pairs=pairs, order=order, slots=slots, read=pairs.__getitem__)


@pytest.mark.parametrize("pairs", [ONE_SIZE, CROPS], ids=["resize", "crop"])
def test_slices_of_four_processes_make_up_the_batch_of_one(pairs):
    """Step 12,345, of which every process asks its part, wherever devices put it."""
    mesh = meshes.make_mesh(batch_size=8)
    whole = loader(pairs, np.arange(8))(12_345)
    assert len(meshes.local_slice(np.arange(8), mesh)) == 8  # one process alone has all
    parts = [loader(pairs, np.arange(2 * p, 2 * p + 2))(12_345) for p in range(4)]
    for name in whole:
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), whole[name])


def test_the_cache_keeps_what_fits():
    calls = []

    def read(index):
        calls.append(index)
        return {"input": np.zeros(100, np.uint8), "target": np.zeros(100, np.uint8)}

    cache = Cache(read, 450)
    for index in (0, 1, 2, 0, 1, 2):
        assert cache(index)["input"].shape == (100,)
    assert calls == [0, 1, 2, 2]


def test_workers_are_chosen_from_cores_and_memory(monkeypatch):
    assert reading.choose_workers(ONE_SIZE, 3) == 3
    monkeypatch.setattr(reading, "_cache_limit", lambda: ONE_SIZE.num_bytes)
    assert reading.choose_workers(ONE_SIZE) == 0
    monkeypatch.setattr(reading, "_cache_limit", lambda: 0)
    monkeypatch.setattr(reading, "_num_cores", lambda: 8)
    assert reading.choose_workers(ONE_SIZE) == 7
    monkeypatch.setattr(reading, "_num_cores", lambda: 2)
    assert reading.choose_workers(ONE_SIZE) == 0


def test_auto_spreads_what_is_too_large_to_copy(monkeypatch):
    monkeypatch.setattr(meshes, "free_memory", lambda: ONE_SIZE.num_bytes)
    assert [choose_residency(ONE_SIZE, shards=n) for n in (1, 2, 4, 8)] == ["host", "host", "sharded", "sharded"]
    assert choose_residency(ONE_SIZE, "device", shards=2) == "sharded"
    assert choose_residency(ONE_SIZE, "device") == "device"


MEASURE = """
import jax, numpy as np
from pix2pix_jax.runtime import meshes
from pix2pix_jax.data import pipeline
from pix2pix_jax.data.paired_dataset import PairedDataset

class Plain:
    def __init__(self, count):
        self.names = [str(i) for i in range(count)]

    def pair(self, index, channels):
        return np.full((256, 256, 3), index % 256, np.uint8), np.full((256, 256, 3), 7, np.uint8)

def batches_until_all_are_loaded(count):
    pairs = PairedDataset(Plain(count), "AtoB", (256, 256))
    batches = pipeline.batches(pairs, meshes.make_mesh(batch_size=1, data=1), batch_size=1, seed=0)
    for _ in range(count + 2):
        jax.block_until_ready(next(batches))
    return pairs.num_bytes

def peak():
    # Not `resource`, whose peak of a process includes that of the one it was forked from.
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])

batches_until_all_are_loaded(2)
before = peak()
size = batches_until_all_are_loaded(500)
print((peak() - before) / size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of its memory from /proc")
def test_a_split_in_memory_takes_no_more_than_itself():
    """At its peak, while it is loaded: of 197 MB."""
    measured = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert 0.5 < float(measured.stdout) < 1.3
