"""The choice of devices, and what is said when it cannot be had. There are 8 fake devices (conftest.py)."""

import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pix2pix_jax.errors import UserError
from pix2pix_jax.runtime import distributed, meshes


@pytest.mark.parametrize(
    ("batch_size", "data", "rows", "shape"),
    [
        (1, -1, 1, (1, 1)),
        (8, -1, 1, (8, 1)),
        (6, -1, 1, (6, 1)),
        (9, -1, 1, (3, 1)),
        (16, -1, 1, (8, 1)),
        (8, -1, 2, (4, 2)),
        (1, -1, 8, (1, 8)),
        (6, -1, 3, (2, 3)),
        (8, 2, 1, (2, 1)),
        (8, 2, 4, (2, 4)),
    ],
)
def test_the_mesh_takes_as_many_devices_as_divide_the_batch(batch_size, data, rows, shape):
    mesh = meshes.make_mesh(batch_size=batch_size, data=data, rows=rows)
    assert mesh.axis_names == ("data", "rows")
    assert mesh.devices.shape == shape


def test_under_accumulation_devices_divide_a_part():
    assert meshes.make_mesh(batch_size=8, accumulate_steps=2).devices.shape == (4, 1)
    assert meshes.make_mesh(batch_size=8, accumulate_steps=8, rows=4).devices.shape == (1, 4)


@pytest.mark.parametrize(
    ("options", "field", "remedy"),
    [
        ({"batch_size": 6, "data": 4}, "config.batch_size: 6", "1, 2, 3, 6 devices would fit"),
        ({"batch_size": 5, "data": 2, "rows": 2}, "config.batch_size: 5", "; 1 devices would fit"),
        ({"batch_size": 16, "data": 16}, "config.mesh.data: 16", "there are 8 devices; use -1"),
        ({"batch_size": 8, "data": 8, "rows": 2}, "config.mesh.data: 8 x 2 rows", "there are 8 devices"),
        ({"batch_size": 8, "data": 8, "accumulate_steps": 2}, "config.batch_size: 8 in 2 parts", "1, 2, 4 devices"),
        ({"batch_size": 8, "data": 0}, "config.mesh.data: 0", "use -1"),
        ({"batch_size": 8, "data": -2}, "config.mesh.data: -2", "use -1"),
        ({"batch_size": 8, "rows": 9}, "config.mesh.rows: 9", "use 1 to 8"),
        ({"batch_size": 8, "rows": 0}, "config.mesh.rows: 0", "use 1 to 8"),
    ],
)
def test_refusals_name_the_field_and_what_fits(options, field, remedy):
    with pytest.raises(UserError) as caught:
        meshes.make_mesh(**options)
    message = str(caught.value)
    assert message.startswith(field) and remedy in message and "\n" not in message


def test_several_processes_must_all_have_work(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match=r"config.batch_size: 6 keeps 6 of 8 devices busy.*multiple of 8"):
        meshes.make_mesh(batch_size=6)


@dataclasses.dataclass(frozen=True)
class Chip:
    """What a mesh of several slices looks at; only such machines have real ones."""

    id: int
    slice_index: int
    process_index: int
    platform: str = "cpu"
    device_kind: str = "cpu"


def test_rows_stay_inside_a_slice_and_a_process_has_contiguous_data():
    # Two slices of eight, two processes each, whose devices take turns.
    chips = [Chip(i, i % 2, 2 * (i % 2) + i // 2 % 2) for i in range(16)]
    grid = meshes.arrange(chips, data=8, rows=2)
    assert [{chip.slice_index for chip in row} for row in grid] == [{0}] * 4 + [{1}] * 4
    assert sorted(chip.id for chip in grid.flat) == list(range(16))
    along_data = [chip.process_index for chip in meshes.arrange(chips, data=16, rows=1)[:, 0]]
    assert along_data == sorted(along_data)
    with pytest.raises(UserError, match="config.mesh.rows: 16 do not fit into the 8 devices.*; use 1, 2, 4, 8"):
        meshes.arrange(chips, data=1, rows=16)


def test_a_leaf_is_spread_along_the_largest_axis_that_divides():
    mesh = meshes.make_mesh(batch_size=4, data=4)
    shapes = {
        (4, 4, 64, 128): (4, 4, 64, 32),
        (4, 4, 128, 64): (4, 4, 32, 64),
        (4, 4, 6, 3): (1, 4, 6, 3),
        (3, 3, 3, 3): (3, 3, 3, 3),
        (64,): (64,),
        (): (),
    }
    for shape, share in shapes.items():
        assert meshes.spread_along_data(shape, mesh).shard_shape(shape) == share


def test_a_batch_is_spread_over_data_and_its_images_rows_over_rows():
    mesh = meshes.make_mesh(batch_size=4, data=2, rows=4)
    images = np.arange(4 * 8 * 3 * 1, dtype=np.float32).reshape(4, 8, 3, 1)
    batch = meshes.from_local({"input": images}, mesh)["input"]
    assert {shard.data.shape for shard in batch.addressable_shards} == {(2, 8, 3, 1)}
    spread = jax.jit(lambda x: meshes.constrain_images(x + 1, mesh))(batch)
    assert {shard.data.shape for shard in spread.addressable_shards} == {(2, 2, 3, 1)}
    np.testing.assert_array_equal(spread, images + 1)


def test_a_mesh_of_some_of_the_devices():
    mesh = meshes.make_mesh(batch_size=8, devices=jax.devices()[2:6])
    assert mesh.devices.shape == (4, 1) and set(mesh.devices.flat) == set(jax.devices()[2:6])
    with pytest.raises(UserError, match="config.mesh.rows: 8, but there are 4 devices"):
        meshes.make_mesh(batch_size=8, rows=8, devices=jax.devices()[:4])


@pytest.mark.parametrize(("shard_optimizer", "shape"), [(False, (16, 4)), (True, (4, 4))])
def test_gradients_are_brought_to_the_moments(shard_optimizer, shape):
    mesh = meshes.make_mesh(batch_size=4, rows=2)
    columns = jax.NamedSharding(mesh, jax.P(None, "rows"))
    params = {"kernel": np.arange(64, dtype=np.float32).reshape(16, 4)}
    adam = optax.adam(1e-3)
    placed = meshes.place_gradients(adam, mesh, shard_optimizer=shard_optimizer)

    def update(optimizer):
        step = jax.jit(lambda gradients: optimizer.update(gradients, optimizer.init(params)), in_shardings=columns)
        return step(jax.device_put(params, columns))

    assert jax.tree.structure(placed.init(params)) == jax.tree.structure(adam.init(params))

    def pieces(state) -> set[tuple[int, ...]]:
        return {shard.data.shape for shard in state[0].mu["kernel"].addressable_shards}

    (updates, state), (plain_updates, plain_state) = update(placed), update(adam)
    np.testing.assert_array_equal(updates["kernel"], plain_updates["kernel"])
    assert (pieces(state), pieces(plain_state)) == ({shape}, {(16, 2)})


def test_replicas_are_whole_everywhere():
    mesh = meshes.make_mesh(batch_size=8)
    tree = meshes.replicate({"a": np.arange(6.0), "b": [np.float32(3)]}, mesh)
    for original, copy in ((np.arange(6.0), tree["a"]), (np.float32(3), tree["b"][0])):
        assert len(copy.addressable_shards) == 8
        for shard in copy.addressable_shards:
            np.testing.assert_array_equal(shard.data, jnp.asarray(original))


@pytest.mark.parametrize(
    ("environment", "connects"),
    [
        ({}, False),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2"}, True),
        ({"TPU_PROCESS_ADDRESSES": "10.0.0.1:8476,10.0.0.2:8476"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost", "MEGASCALE_NUM_SLICES": "2"}, True),
        ({"SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"SLURM_NTASKS": "4"}, False),  # in a batch script, not started by srun
        ({"SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"JAX_COORDINATOR_ADDRESS": "10.0.0.1:1234", "SLURM_STEP_NUM_TASKS": "4"}, True),  # which says the rest
        ({"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}, True),
    ],
)
def test_processes_connect_only_where_there_are_several(monkeypatch, environment, connects):
    calls = initialize(monkeypatch, environment)
    assert bool(calls) == connects
    if "JAX_PROCESS_ID" in environment:
        assert calls[0]["process_id"] == 1 and calls[0]["num_processes"] == 2


@pytest.mark.parametrize(
    "environment",
    [
        {"JAX_NUM_PROCESSES": "2"},
        {"JAX_COORDINATOR_ADDRESS": "a:1"},
        {"JAX_COORDINATOR_ADDRESS": "a:1", "SLURM_STEP_NUM_TASKS": "1"},
        {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"},
        {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "two", "JAX_PROCESS_ID": "0"},
    ],
)
def test_an_incomplete_environment_is_refused(monkeypatch, environment):
    with pytest.raises(UserError, match="JAX_NUM_PROCESSES=.*all three are needed"):
        initialize(monkeypatch, environment)


def initialize(monkeypatch, environment) -> list[dict]:
    """What `jax.distributed.initialize` is called with in an environment that says no more than that."""
    for name in list(os.environ):
        if name.startswith(("JAX_COORDINATOR", "JAX_NUM_PROC", "JAX_PROCESS", "TPU_", "MEGASCALE_", "SLURM_")):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **arguments: calls.append(arguments))
    distributed.initialize()
    return calls


def test_free_memory_is_a_share_of_the_machine():
    assert 0 < meshes.free_memory() < 2**50
