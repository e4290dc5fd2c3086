"""Runs of the loop: what it leaves, and that a run is a function of (config, step)."""

import json
import os
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

from pix2pix_jax.configuration import build_data, build_model
from pix2pix_jax.data import reading
from pix2pix_jax.errors import UserError
from pix2pix_jax.runtime import meshes
from pix2pix_jax.training import interruption, train
from pix2pix_jax.workdir.checkpoints import Checkpoints


def losses_of(workdir) -> list[dict]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "time"} for line in lines if "g_l1" in line]


def restored(config, workdir):
    parts = build_model.build_parts(config, num_examples=400)
    like = jax.eval_shape(lambda: build_model.create_state(config, parts))
    checkpoints = Checkpoints(workdir, read_only=True)
    state = checkpoints.restore(checkpoints.latest_step(), like)
    checkpoints.close()
    return state


def test_what_a_run_leaves(trained, tiny_config):
    every = tiny_config().log_every_steps
    assert [line["step"] for line in losses_of(trained)] == [*range(every, 7, every)]
    assert set(losses_of(trained)[0]) == {"step", "g_gan", "g_l1", "d_real", "d_fake"}
    assert sorted(p.name for p in (trained / "checkpoints").iterdir()) == ["3", "6"]
    grid = Image.open(trained / "samples" / "000006.png")
    assert grid.size == (3 * 34 - 2, 2 * 34 - 2)  # input | output | target, two examples
    assert json.loads((trained / "config.json").read_text())["num_steps"] == 6


def test_tensorboard_files_hold_the_same_losses(trained):
    """As TensorBoard's own reader finds them, which drops records whose checksums are wrong."""
    (path,) = trained.glob("events.out.tfevents.*")
    found = EventAccumulator(str(path)).Reload()
    assert [event.value for event in found.Scalars("train/g_l1")] == pytest.approx(
        [x["g_l1"] for x in losses_of(trained)]
    )
    (tag,) = found.Tags()["images"]
    assert tag == "samples: input | output | target"
    assert [event.step for event in found.Images(tag)] == [3, 6]
    last = found.Images(tag)[-1]
    assert last.encoded_image_string == (trained / "samples" / "000006.png").read_bytes()
    assert (last.width, last.height) == (3 * 34 - 2, 2 * 34 - 2)


def test_tensorboard_groups_losses_and_shows_learning_rates_and_the_config(tiny_config, tmp_path):
    fields = ("num_steps=4", "schedule=linear", "eval_every_steps=4", "learning_rate=1e-3")
    train.train(tiny_config(*(f"--config.{field}" for field in fields)), tmp_path)
    (path,) = tmp_path.glob("events.out.tfevents.*")
    found = EventAccumulator(str(path)).Reload()
    assert {tag.split("/")[0] for tag in found.Tags()["scalars"]} == {"train", "val"}
    rates = {event.step: event.value for event in found.Scalars("train/learning_rate")}
    assert rates[2] == pytest.approx(1e-3) and 0 < rates[4] < 1e-3  # linear: constant for half of the run
    (text,) = found.Tensors("config")
    table = tensor_util.make_ndarray(text.tensor_proto).item().decode()
    assert "| generator.features | 8 |" in table and "| image_size | 32,32 |" in table

    values = found.SummaryMetadata(hparams_metadata.SESSION_START_INFO_TAG).plugin_data
    assert values.plugin_name == "hparams"
    content = plugin_data_pb2.HParamsPluginData.FromString(values.content).session_start_info.hparams
    assert content["learning_rate"].number_value == 1e-3 and content["mirror"].bool_value
    assert content["generator.name"].string_value == "unet" and content["num_steps"].number_value == 4
    assert all("learning_rate" not in line for line in losses_of(tmp_path))  # metrics.jsonl keeps its names


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tiny_config, tmp_path):
    """Stopped by Ctrl-C in the middle, then run by the same command, a run ends in the same bits."""
    off = (f"--config.{name}_every_steps=0" for name in ("checkpoint", "sample", "eval"))
    config = tiny_config("--config.num_steps=80", *off)
    whole = jax.device_get(train.train(config, tmp_path / "whole"))
    workdir = tmp_path / "stopped"
    threading.Thread(target=interrupt_after_line, args=(workdir / "metrics.jsonl", 5)).start()
    with pytest.raises(interruption.Interrupted, match="the same command goes on"):
        train.train(config, workdir)
    assert 5 <= len(losses_of(workdir)) < 80 // config.log_every_steps
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(train.train(config, workdir)), whole)
    jax.tree.map(np.testing.assert_array_equal, restored(config, workdir), whole)
    assert losses_of(workdir) == losses_of(tmp_path / "whole")


def interrupt_after_line(path, lines: int) -> None:
    while not path.exists() or path.read_text().count("\n") < lines:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_line_is_the_mean_since_the_line_before_even_over_a_stop(tiny_config, tmp_path):
    for name, every, stops in (("single", 1, (6,)), ("means", 2, (3, 6))):  # 3 is between the lines of 2 and 4
        for steps in stops:
            config = tiny_config(f"--config.log_every_steps={every}", f"--config.num_steps={steps}")
            train.train(config, tmp_path / name)
    single, means = losses_of(tmp_path / "single"), losses_of(tmp_path / "means")
    assert [line["step"] for line in means] == [2, 3, 4, 6]  # at the end of the shorter run too
    for line in means[:1] + means[2:]:
        pair = [other["g_l1"] for other in single if line["step"] - 2 < other["step"] <= line["step"]]
        assert line["g_l1"] == pytest.approx(sum(pair) / 2)


def test_steps_logged_beyond_the_checkpoint_are_dropped(trained, tiny_config, tmp_path):
    """As after a kill: the log is ahead of the checkpoint, and its last line is cut short."""
    train.train(tiny_config("--config.num_steps=4"), tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 5, "time": 0, "g_l1": 9.0}\n{"step": 6, "ti')
    train.train(tiny_config(), tmp_path)
    assert losses_of(tmp_path) == losses_of(trained)


def test_a_finished_run_trains_on_when_it_is_lengthened(tiny_config, tmp_path, capsys):
    for _ in range(2):
        train.train(tiny_config("--config.log_every_steps=1", "--config.num_steps=3"), tmp_path)
    assert "already at step 3" in capsys.readouterr().out
    state = train.train(tiny_config("--config.log_every_steps=1", "--config.num_steps=4"), tmp_path)
    assert int(state.step) == 4
    assert [line["step"] for line in losses_of(tmp_path)] == [1, 2, 3, 4]


@pytest.mark.heavy
def test_a_run_goes_on_with_other_devices(tiny_config, tmp_path, capsys):
    first = ("--config.batch_size=4", "--config.mesh.data=4", "--config.shard_optimizer=True", "--config.num_steps=1")
    state = train.train(tiny_config(*first), tmp_path)
    assert "note: 4 devices stay idle; config.mesh.data=-1 would use more of them" in capsys.readouterr().out
    assert not state.generator.opt_state[0].mu["down2"]["kernel"].sharding.is_fully_replicated
    state = train.train(tiny_config("--config.batch_size=4", "--config.mesh.data=2", "--config.num_steps=2"), tmp_path)
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(state))
    assert int(state.step) == 2


@pytest.mark.parametrize(
    ("batch_size", "data", "rows", "remedy"),
    [
        (1, -1, 1, "a config.batch_size that is a multiple of 8"),
        (2, 2, 1, "config.mesh.data=-1"),
        (2, -1, 3, "config.mesh.rows that divides 8"),
    ],
)
def test_what_lets_idle_devices_work(tiny_config, batch_size, data, rows, remedy):
    fields = (f"batch_size={batch_size}", f"mesh.data={data}", f"mesh.rows={rows}", "image_size=24,24")
    config = tiny_config(*(f"--config.{field}" for field in fields))
    mesh = meshes.make_mesh(batch_size=batch_size, **config.mesh)
    assert train._remedy_for_idle(config, mesh) == remedy


def test_the_workdir_of_another_config_is_refused(trained, tiny_config):
    before = sorted(p for p in trained.rglob("*"))
    with pytest.raises(UserError, match=r"config\.l1_weight: 100\.0 -> 10\.0"):
        train.train(tiny_config("--config.l1_weight=10.0"), trained)
    assert sorted(p for p in trained.rglob("*")) == before


def test_a_run_that_diverges_stops_and_keeps_its_last_good_checkpoint(tiny_config, tmp_path):
    with pytest.raises(UserError, match=r"step \d+: the losses are no longer finite.*learning_rate"):
        train.train(tiny_config("--config.learning_rate=1e38", "--config.num_steps=40"), tmp_path)
    checkpoints = Checkpoints(tmp_path, read_only=True)
    step = checkpoints.latest_step()
    checkpoints.close()
    assert step is None or step < 40
    assert all(np.isfinite(line["g_l1"]) for line in losses_of(tmp_path))


def test_a_device_that_runs_out_of_memory_is_a_users_mistake():
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED") as caught:
        jax.block_until_ready(jax.jit(lambda: jnp.ones((1 << 20, 1 << 24)))())  # 64 TiB
    assert "remat" in str(train.explained(caught.value))


@pytest.mark.parametrize("preprocess", ["crop", "scale_width_and_crop", "scale_width", "none"])
def test_a_run_of_images_that_get_their_size_otherwise(tiny_config, tmp_path, preprocess):
    """Images larger than the crop, of several sizes, or already right, as `preprocess` says."""
    sizes = {"crop": [(40, 48), (33, 32)], "scale_width_and_crop": [(48, 48), (60, 48)]}.get(preprocess, [(32, 32)])
    (tmp_path / "data" / "train").mkdir(parents=True)
    for i, (height, width) in enumerate(2 * sizes):
        pixels = np.random.default_rng(i).integers(0, 256, (height, 2 * width, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / "train" / f"{i}.png")
    source = ("--config.dataset=folder", f"--config.data_dir={tmp_path / 'data'}", "--config.num_samples=1")
    sized = (f"--config.preprocess={preprocess}", "--config.resize_size=32,32", "--config.num_steps=2")
    train.train(tiny_config(*source, *sized), tmp_path / "run")
    assert [line["step"] for line in map(json.loads, (tmp_path / "run" / "metrics.jsonl").open())][-1] == 2


def test_rgb_to_grey(tiny_config, tmp_path):
    """Channels of input and target are the config's, from files to sample grids."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(4):
        pixels = rng.integers(0, 256, (40, 80), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    config = tiny_config(
        "--config.dataset=folder",
        f"--config.data_dir={folder}",
        "--config.target_channels=1",
        "--config.num_steps=1",
    )
    state = train.train(config, tmp_path / "run")
    assert state.generator.params["up0"]["kernel"].shape[-1] == 1
    assert (tmp_path / "run" / "samples" / "000001.png").exists()


def test_a_file_that_breaks_during_a_run_stops_it_with_its_state_saved(tiny_config, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 80, 3), np.uint8)
    for i in range(80):
        Image.fromarray(pixels).save(folder / f"{i}.jpg")
    config = tiny_config(
        "--config.dataset=folder",
        f"--config.data_dir={folder}",
        "--config.num_steps=60",
        "--config.checkpoint_every_steps=0",
    )
    order = reading.ExampleOrder(72, config.batch_size, config.seed)
    last = build_data.open_pairs(config, "train").source.names[order[20][0]]  # first seen at step 21
    broken = folder / f"{last}.jpg"
    broken.write_bytes(broken.read_bytes()[:-200])  # the header is whole, so only decoding tells
    with pytest.raises(UserError, match=f"{last}.jpg: damaged image"):
        train.train(config, tmp_path / "run")
    checkpoints = Checkpoints(tmp_path / "run", read_only=True)
    assert checkpoints.latest_step() == 20
    checkpoints.close()
