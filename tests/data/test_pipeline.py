"""The batch of step s: the same whoever asks, from wherever it comes."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pix2pix_jax import parallel
from pix2pix_jax.data.pairs import Pairs
from pix2pix_jax.data.pipeline import batches, choose_residency, load_batch
from pix2pix_jax.data.reading import ExampleOrder, num_bytes


class Numbered:
    """Pairs of 4x6 pixels: A holds its index, B 255 less that."""

    def __init__(self, count: int):
        self.names = [str(i) for i in range(count)]

    def pair(self, index, channels):
        return np.full((4, 6, channels[0]), index, np.uint8), np.full((4, 6, channels[1]), 255 - index, np.uint8)


def pairs(count: int = 10) -> Pairs:
    return Pairs(Numbered(count), "AtoB", (4, 6), input_channels=1)


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
    mesh = parallel.make_mesh(batch_size=4, data=devices)
    order = ExampleOrder(10, batch_size=4, seed=2)
    streams = [
        batches(pairs(), mesh, batch_size=4, seed=2, start=start, residency=residency)
        for residency in ("host", "device")
    ]
    for step, (host, device) in enumerate(itertools.islice(zip(*streams, strict=True), 5), start=start):
        expected = load_batch(pairs(), order[step])
        assert expected["input"].shape == (4, 4, 6, 1) and expected["target"].shape == (4, 4, 6, 3)
        for name, pixels in expected.items():
            for batch in (host, device):
                assert batch[name].dtype == np.uint8
                assert batch[name].sharding.is_equivalent_to(parallel.batch_sharding(mesh), 4)
                np.testing.assert_array_equal(batch[name], pixels)


def test_auto_takes_device_memory_for_a_quarter_of_it_at_most(monkeypatch):
    assert num_bytes(pairs(10)) == 10 * 4 * 6 * 4
    monkeypatch.setattr(parallel, "free_memory", lambda: 4 * 960)
    assert choose_residency(pairs(10)) == "device"
    assert choose_residency(pairs(11)) == choose_residency(pairs(1), "host") == "host"


def test_examples_are_loaded_by_index():
    batch = load_batch(pairs(), np.array([3, 9]))
    np.testing.assert_array_equal(batch["input"][:, 0, 0, 0], [3, 9])
    np.testing.assert_array_equal(batch["target"][:, 0, 0, 0], [252, 246])


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_one_process_reads_the_whole_batch(devices):
    mesh = parallel.make_mesh(batch_size=4, data=devices, rows=2)
    indices = np.array([5, 3, 8, 1])
    np.testing.assert_array_equal(parallel.local_slice(indices, mesh), indices)
    np.testing.assert_array_equal(jax.device_get(parallel.from_local(indices, mesh)), indices)
