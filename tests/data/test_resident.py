"""Batches of a split in the devices' memory: those of the host until all of it is there, and the same ones."""

import itertools
import threading
import time

import jax
import numpy as np
import pytest

from pix2pix_jax.data import resident
from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.data.reading import ExampleOrder, stack
from pix2pix_jax.errors import UserError
from pix2pix_jax.runtime import meshes

COUNT = 13


class Gated:
    """Pairs of 4x6 pixels, A with its index; all but `free` of them wait for `gate`. `broken` cannot be read."""

    def __init__(self, *, free=range(COUNT), broken: int | None = None):
        self.names = [str(i) for i in range(COUNT)]
        self.free, self.broken, self.gate, self.read = set(free), broken, threading.Event(), []

    def pair(self, index, channels):
        if index not in self.free:
            assert self.gate.wait(60)
        self.read.append(index)
        if index == self.broken:
            raise UserError(f"{index}.jpg: damaged image")
        return np.full((4, 6, channels[0]), index, np.uint8), np.full((4, 6, channels[1]), 255 - index, np.uint8)


def open_stream(source, *, start=0, batch_size=4, devices=1, sharded=False, while_loading=lambda step: None):
    pairs = PairedDataset(source, "AtoB", (4, 6))
    order = ExampleOrder(COUNT, batch_size=batch_size, seed=2)
    mesh = meshes.make_mesh(batch_size=batch_size, data=devices)
    stream = resident.batches(pairs, order, mesh, start, sharded=sharded, while_loading=while_loading)
    return order, stream


def wait_until(is_so):
    for _ in range(600):
        if is_so():
            return
        time.sleep(0.1)
    raise AssertionError("a minute has passed")


def assert_batch(batch, indices):
    pairs = PairedDataset(Gated(), "AtoB", (4, 6))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(batch), stack(pairs[int(i)] for i in indices))


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("devices", [1, 4, 8])
@pytest.mark.parametrize("start", [0, 9])
def test_batches_are_the_same_before_and_after_the_split_is_there(devices, start, sharded):
    batch_size = max(4, devices)
    order = ExampleOrder(COUNT, batch_size=batch_size, seed=2)
    source = Gated(free={0, *order[start].tolist(), *order[start + 1].tolist()})  # the shape is that of example 0
    slow = []
    options = {"batch_size": batch_size, "devices": devices, "sharded": sharded, "while_loading": slow.append}
    _, stream = open_stream(source, start=start, **options)
    for step in (start, start + 1):  # while all others wait
        assert_batch(next(stream), order[step])
    assert slow == [start, start + 1]
    source.gate.set()
    for step in range(start + 2, start + 12):
        assert_batch(next(stream), order[step])
    assert slow == list(range(start, slow[-1] + 1)) and slow[-1] < start + 11
    stream.close()


def test_a_cpu_loads_the_first_batch_alone_and_the_others_when_it_is_trained_on():
    source = Gated()
    order, stream = open_stream(source)
    next(stream)
    assert set(source.read) == {0, *order[0].tolist()}
    list(itertools.islice(stream, 20))
    assert set(source.read) == set(range(COUNT))
    stream.close()


def test_an_accelerator_loads_all_at_once(monkeypatch):
    monkeypatch.setattr(meshes, "platform", lambda mesh: "gpu")
    source = Gated()
    _, stream = open_stream(source)
    next(stream)
    wait_until(lambda: set(source.read) == set(range(COUNT)))
    stream.close()


def test_an_example_that_no_step_has_asked_for_yet_ends_the_run_too():
    order = ExampleOrder(COUNT, batch_size=1, seed=2)
    source = Gated(broken=int(order[11][0]))
    assert source.broken != 0  # which is read for its shape
    _, stream = open_stream(source, batch_size=1)
    next(stream)
    with pytest.raises(UserError, match="damaged image"):
        for _ in range(10):  # steps 1 to 10; step 11 would ask for it
            next(stream)
            wait_until(lambda: source.broken in source.read)
            time.sleep(0.1)  # its thread may still be at work on raising


def test_shards_lie_on_their_devices():
    mesh = meshes.make_mesh(batch_size=8)
    pairs = PairedDataset(Gated(), "AtoB", (4, 6))
    loader = resident._Loader(pairs, resident._share(COUNT, mesh), first=range(COUNT))
    everything = meshes.from_local(loader.wait(), mesh)
    loader.close()
    assert {shard.data.shape for shard in everything["input"].addressable_shards} == {(2, 4, 6, 3)}
    program = resident._take_sharded(mesh).lower(everything, np.arange(8, dtype=np.int32)).compile().as_text()
    assert "all-gather" not in program  # nobody gets all of the split


def test_closing_ends_the_loading(monkeypatch):
    monkeypatch.setattr(resident, "_THREADS", 1)
    order = ExampleOrder(COUNT, batch_size=4, seed=2)
    free = {0, *order[0].tolist(), *order[1].tolist()}
    source, others = Gated(free=free), set(threading.enumerate())
    _, stream = open_stream(source)
    next(stream)
    next(stream)  # the others begin, and the first of them waits at the gate
    (loading,) = set(threading.enumerate()) - others
    stream.close()
    source.gate.set()
    loading.join(60)
    assert len(set(source.read) - free) <= 1
