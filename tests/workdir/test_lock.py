"""One run at a time in a workdir, whatever becomes of the one before."""

import os
import re
import signal
import socket

import processes
import pytest
from etils import epath

from pix2pix_jax.errors import UserError
from pix2pix_jax.training import train
from pix2pix_jax.workdir import lock


def test_the_second_is_refused_with_the_holder_and_may_have_it_later(tmp_path):
    workdir = epath.Path(tmp_path / "run")
    lock.check(workdir)
    assert not workdir.exists()
    with lock.hold(workdir):
        for attempt in (lambda: lock.hold(workdir).__enter__(), lambda: lock.check(workdir)):
            with pytest.raises(UserError, match=f"process {os.getpid()} on {re.escape(socket.gethostname())}"):
                attempt()
    lock.check(workdir)
    assert (workdir / lock.NAME).read_bytes() == b""
    with lock.hold(workdir):
        pass


def test_a_lock_that_cannot_be_written_is_a_mistake_of_the_user(tmp_path):
    (tmp_path / lock.NAME).mkdir()
    with pytest.raises(UserError, match="lock: cannot be written .Is a directory.; make room or choose another"):
        lock.hold(epath.Path(tmp_path)).__enter__()


def test_training_holds_the_workdir_and_leaves_it(tiny_config, tmp_path):
    with lock.hold(epath.Path(tmp_path)), pytest.raises(UserError, match="another run is under way"):
        train.train(tiny_config(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", lock.NAME]


@pytest.mark.heavy
def test_a_second_train_is_refused_and_a_killed_one_frees_the_workdir(tmp_path):
    command = processes.tiny_run(tmp_path / "run", "--config.num_steps=100000", "--config.checkpoint_every_steps=20")
    first = processes.start(*command)
    processes.wait_for(lambda: processes.num_lines(tmp_path / "run") > 30, first)
    refused = processes.finish(processes.start(*command), 2)
    assert f"process {first.pid} on {socket.gethostname()}" in refused and "Traceback" not in refused
    lines = processes.num_lines(tmp_path / "run")
    processes.wait_for(lambda: processes.num_lines(tmp_path / "run") > lines, first)  # it goes on
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert "starting from step" in processes.finish(processes.start(*command, "--config.num_steps=41"))


@pytest.mark.heavy
def test_all_processes_of_a_second_run_are_refused(tmp_path):
    command = processes.tiny_run(tmp_path / "run", "--config.num_steps=40", "--config.batch_size=2")
    with lock.hold(epath.Path(tmp_path / "run")):
        outputs = [processes.finish(process, 2) for process in processes.start_together(2, *command)]
    assert f"process {os.getpid()} on" in outputs[0] and "process 0 of this run" in outputs[1]
    for process in processes.start_together(2, *command):
        processes.finish(process)
