"""Trackers, the real ones, without a network; skipped where they are not installed."""

import json
import os
import pathlib
import sqlite3
import struct
import subprocess
import sys

import jax.numpy as jnp
import pytest
from command_line import assert_refused
from etils import epath
from pix2pix_jax.configs import default

from pix2pix_jax.errors import UserError
from pix2pix_jax.workdir import logs, trackers

HERE = str(pathlib.Path(__file__).parent)
TESTS = str(pathlib.Path(__file__).parents[1])
BLOCK, FULL, LAST = 32768, 1, 4  # of LevelDB's log format


def log_run(workdir, name, *, start=0):
    """Logs two steps, a metric and a grid, as a run that starts after step `start`."""
    config = default.get_config()
    config.log_to = name
    sizes = {"total": 4, "num_examples": 2, "batch_size": 1}
    with logs.RunLog(epath.Path(workdir), start=start, config=config, **sizes) as log:
        for step in (start + 1, start + 2):
            log.scalars(step, {"g_l1": step / 4, "d_real": 0.5}, rates={"learning_rate": 1e-4})
        log.scalars(start + 2, {"val/l1": 0.125})
        log.samples(start + 2, {"input": jnp.zeros((2, 8, 8, 3)), "output": jnp.zeros((2, 8, 8, 3))})


def test_a_missing_package_is_named_with_its_remedy():
    with pytest.raises(UserError, match="log_to: no_such_one is not installed; pip install no_such_one"):
        trackers.check("no_such_one")
    trackers.check("none")


def test_another_name_is_refused(run):
    assert_refused(
        run("train", "--config=default", "--workdir=W", "--config.log_to=other"), "log_to", "wandb", "trackio"
    )


def in_processes(workdir, name, *starts, **environment):
    """Calls `log_run` in a process of its own for each start, as wandb writes its last records when it ends."""
    for start in starts:
        program = f"import test_trackers as t; t.log_run({str(workdir)!r}, {name!r}, start={start})"
        variables = os.environ | {"PYTHONPATH": HERE + os.pathsep + TESTS} | environment
        subprocess.run([sys.executable, "-c", program], check=True, env=variables)


@pytest.mark.heavy
def test_wandb_offline(tmp_path):
    pytest.importorskip("wandb", reason="wandb is not installed")
    in_processes(tmp_path, "wandb", 0, 2, WANDB_MODE="offline")  # the second is a resumed run
    files = sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len({file.name for file in files}) == 1, "one run of wandb for both starts"
    records = [record for file in files for record in wandb_history(file)]
    assert [r["train/g_l1"] for r in records if "train/g_l1" in r] == [0.25, 0.5, 0.75, 1.0]
    assert [r["step"] for r in records if "val/l1" in r] == [2, 4] and records[0]["train/learning_rate"] == 1e-4
    assert len(list((tmp_path / "wandb").glob("offline-run-*/files/media/images/samples_*.png"))) == 2


def wandb_history(file):
    """Yields what a file of wandb's holds of logged values: records in LevelDB's log format, after 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    content, place, data = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if (left := BLOCK - place % BLOCK) < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        data += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (FULL, LAST):
            record, data = wandb_internal_pb2.Record.FromString(data), b""
            if record.WhichOneof("record_type") == "history":
                yield {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}


def test_trackio_on_this_machine(tmp_path):
    pytest.importorskip("trackio", reason="trackio is not installed")
    in_processes(tmp_path / "run", "trackio", 0, TRACKIO_DIR=str(tmp_path / "store"))
    (database,) = (tmp_path / "store").glob("*.db")
    rows = sqlite3.connect(database).execute("select step, metrics from metrics order by id").fetchall()
    found = [(step, json.loads(metrics)) for step, metrics in rows]
    assert found[0] == (1, {"train/g_l1": 0.25, "train/d_real": 0.5, "train/learning_rate": 1e-4})
    assert found[2] == (2, {"val/l1": 0.125}) and list(found[3][1]) == ["samples"]
    assert list((tmp_path / "store").rglob("*.png"))
