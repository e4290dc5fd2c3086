"""A state that is no longer finite is found when it is to be saved, by a check that is compiled once."""

import logging

import jax
import pytest

from pix2pix_jax import monitor, train
from pix2pix_jax.checkpoints import Checkpoints


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize(
    ("period", "message"),
    [(1, "^step 1: parameters, statistics or optimisers are no longer finite"), (0, "^step 2: the losses")],
)
def test_an_update_that_overflows_shows_when_saved_or_in_the_next_losses(tiny_config, tmp_path, period, message):
    flags = ("--config.learning_rate=1e39", "--config.update_order=simultaneous")  # infinite in float32
    config = tiny_config(*flags, f"--config.checkpoint_every_steps={period}")
    with pytest.raises(monitor.Diverged, match=message):
        train.train(config, tmp_path)
    checkpoints = Checkpoints(tmp_path, read_only=True)
    assert checkpoints.steps() == []
    checkpoints.close()


def test_the_check_before_a_save_is_compiled_once(tiny_config, tmp_path, caplog):
    monitor._all_finite.clear_cache()
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        train.train(tiny_config("--config.checkpoint_every_steps=1"), tmp_path)
    traced = [record.message for record in caplog.records if "Finished tracing" in record.message]
    assert sum("all_finite" in message for message in traced) == 1
