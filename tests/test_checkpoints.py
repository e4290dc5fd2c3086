"""Checkpoints: self-describing, partly readable, and clear about damage."""

import shutil

import jax
import numpy as np
import pytest

from pix2pix_jax import config as config_lib
from pix2pix_jax import parallel, recipe
from pix2pix_jax.checkpoints import Checkpoints, abstract
from pix2pix_jax.errors import UserError


@pytest.fixture
def reader(trained):
    checkpoints = Checkpoints(trained, read_only=True)
    yield checkpoints
    checkpoints.close()


def test_a_checkpoint_holds_its_config(reader, tiny_config):
    resolved = ("--config.input_dtype=uint8", "--config.target_dtype=uint8")
    assert config_lib.to_dict(reader.config(6)) == config_lib.to_dict(tiny_config(*resolved))


def test_steps_resolve(reader):
    assert reader.resolve("latest") == 6
    assert reader.resolve("3") == 3
    for wrong in ("4", "best", "-1"):
        with pytest.raises(UserError, match="there are 3, 6"):
            reader.resolve(wrong)


def test_a_part_equals_that_of_the_whole(reader, tiny_config):
    config = tiny_config()
    parts = recipe.build_parts(config, num_examples=1)
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = abstract(jax.eval_shape(lambda: recipe.create_state(config, parts)), here)
    whole = reader.restore(6, like)
    part = reader.restore(6, {"generator": like.generator.variables})
    jax.tree.map(np.testing.assert_array_equal, part["generator"], whole.generator.variables)


def test_sharded_moments_restore_onto_any_number_of_devices(reader, tiny_config, tmp_path):
    config = tiny_config()
    like = jax.eval_shape(lambda: recipe.create_state(config, recipe.build_parts(config, num_examples=1)))

    def on(data):
        mesh = parallel.make_mesh(batch_size=8, data=data)
        return abstract(like, parallel.state_shardings(like, mesh, shard_optimizer=True))

    state = expected = reader.restore(6, on(1))
    for step, data in enumerate((8, 4, 1)):
        folder = Checkpoints(tmp_path / str(data))
        folder.save(step, jax.device_put(state, jax.tree.map(lambda x: x.sharding, on(data))), config)
        folder.wait()
        state = folder.restore(step, on(8 // data))
        folder.close()
        moment = state.generator.opt_state[0].mu["down2"]["kernel"]
        assert moment.addressable_shards[0].data.size == moment.size * data // 8
        jax.tree.map(np.testing.assert_array_equal, state, expected)


def test_a_damaged_checkpoint_is_named(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints" / "6" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    checkpoints = Checkpoints(tmp_path / "run", read_only=True)
    with pytest.raises(UserError, match="checkpoints/6: cannot be restored"):
        checkpoints.restore(6, {"generator": {}})
    checkpoints.close()


def test_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match="no checkpoint"):
        Checkpoints(tmp_path, read_only=True)
    assert list(tmp_path.iterdir()) == []
