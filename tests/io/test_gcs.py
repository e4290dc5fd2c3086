"""Whole runs in a bucket, as a user starts them, through faults and kills."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.parse

import pytest
from conftest import TINY

pytestmark = pytest.mark.heavy

WORKDIR = "--workdir=gs://bucket/run"
TRAIN = ("train", "--config=default", WORKDIR, *TINY)


def start(*arguments):
    command = [sys.executable, "-m", "pix2pix_jax", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ | {"PYTHONFAULTHANDLER": "1"}, **pipes)


def run(*arguments):
    """(exit code, stdout, stderr)."""
    process = start(*arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def last_words(process) -> str:
    """Stops a process that hangs; returns what it has said, and where each of its threads is."""
    process.send_signal(signal.SIGABRT)  # Python's fault handler tells the stacks
    out, err = process.communicate(timeout=60)
    return f"exit code {process.returncode}\n{out}\n{err}"


def losses(content: bytes) -> list[dict]:
    return [{k: v for k, v in json.loads(line).items() if k != "time"} for line in content.splitlines()]


def assert_one_line(result, *words):
    code, _, stderr = result
    assert code == 2, stderr
    assert "Traceback" not in stderr, stderr
    last = re.split(r"[\r\n]+", stderr.strip())[-1]
    assert last.startswith("pix2pix ") and all(word in last for word in words), last


def assert_complete(bucket, trained):
    assert losses(bucket.objects["run/metrics.jsonl"].data) == losses((trained / "metrics.jsonl").read_bytes())
    for step in (3, 6):
        assert f"run/checkpoints/{step}/commit_success.txt" in bucket.objects
        assert bucket.objects[f"run/samples/{step:06d}.png"].data == (trained / f"samples/{step:06d}.png").read_bytes()


def test_a_run_that_did_not_end_is_named(bucket, trained):
    """A bucket has no locks: who holds it may be dead."""
    bucket.put("run/lock", b"process 7 on elsewhere\n")
    code, out, _ = run(*TRAIN)
    assert code == 0 and "note: gs://bucket/run: process 7 on elsewhere did not end its run in it" in out
    assert bucket.objects["run/lock"].data == b""
    code, out, _ = run(*TRAIN)
    assert code == 0 and "did not end" not in out


def test_a_run_and_its_evaluation(bucket, trained):
    assert run(*TRAIN, "--config.profile_steps=2,3")[0] == 0
    assert_complete(bucket, trained)
    traces = bucket.names("run/plugins/profile/steps-2-3/")
    assert [name.split(".", 1)[1] for name in sorted(traces)] == ["perfetto_trace.json.gz", "xplane.pb"]
    assert json.loads(bucket.objects["run/config.json"].data)["num_steps"] == 6
    events = [name for name in bucket.names("run/events.out.tfevents.") if bucket.objects[name].data]
    assert len(events) == 1 and len(bucket.objects[events[0]].data) > 20_000  # the two grids
    code, out, err = run("evaluate", WORKDIR)
    assert code == 0, err
    assert "gs://bucket/run/eval/val-6/index.html" in out
    assert json.loads(bucket.objects["run/eval/val-6/metrics.json"].data)["num_examples"] == 100
    assert len(bucket.names("run/eval/val-6/images/")) == 300
    code, _, err = run("compare", "gs://bucket/run", "--output=gs://bucket/comparison", "--examples=2")
    assert code == 0, err
    assert {"comparison/index.html", "comparison/curves.svg"} <= set(bucket.names("comparison/"))
    assert len(bucket.names("comparison/images/")) == 6
    picture = trained / "samples" / "000006.png"
    code, _, err = run("translate", WORKDIR, f"--input={picture}", "--output=gs://bucket/out", "--pairs=no")
    assert code == 0, err
    assert bucket.names("out/") == ["out/000006.png"]
    assert "already at step 6" in run(*TRAIN)[1]


def test_a_bucket_that_stumbles(bucket, trained):
    bucket.fault = lambda request: ("reset" if request.number % 20 else 503) if request.number % 10 == 0 else None
    code, _, err = run(*TRAIN)
    assert code == 0, err
    assert_complete(bucket, trained)


def test_kills(bucket, trained):
    """At the puts that matter, one after the other; the last start goes on from what the kills have left."""
    points = [
        *("run/config.json", "run/metrics.jsonl", "checkpoints/3/_CHECKPOINT", "checkpoints/3/state/_METADATA"),
        *("3/state/manifest.ocdbt", "3/config/commit_success", "3/commit_success", "checkpoints/6/_CHECKPOINT"),
        *("6/state/manifest.ocdbt", "checkpoints/6/commit_success"),
    ]
    for point in points:
        bucket.fault = lambda request, point=point: "hold" if request.writes and point in request.path else None
        process = start(*TRAIN)
        assert bucket.held.wait(120), f"{point} was not written:\n{last_words(process)}"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        bucket.release()
        bucket.fault = lambda request: None
        saved = max((s for s in (3, 6) if f"run/checkpoints/{s}/commit_success.txt" in bucket.objects), default=0)
        if saved:
            logged = [line["step"] for line in losses(bucket.objects["run/metrics.jsonl"].data)]
            assert logged[:saved] == list(range(1, saved + 1)), point
    code, _, err = run(*TRAIN)
    assert code == 0, err
    assert losses(bucket.objects["run/metrics.jsonl"].data) == losses((trained / "metrics.jsonl").read_bytes())
    code, _, err = run("evaluate", WORKDIR)
    assert code == 0, err


def test_a_damaged_checkpoint(bucket, trained):
    assert run(*TRAIN)[0] == 0
    bucket.put("run/checkpoints/6/state/manifest.ocdbt", b"")
    code, out, err = run(*TRAIN)
    assert code == 0, err
    assert "damaged" in out + err and "starting from step 3" in out
    assert bucket.names("run/checkpoints/damaged-6/state/")
    assert_complete(bucket, trained)


def test_a_put_that_a_kill_cut_short_stores_nothing(bucket):
    address = urllib.parse.urlsplit(bucket.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        path = "/upload/storage/v1/b/bucket/o?uploadType=media&name=cut"
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: bucket\r\nContent-Length: 9\r\n\r\n1234".encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert not bucket.objects


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", ("gs://bucket/run", "Forbidden")),
        ("run/config.json", ("gs://bucket/run/config.json: cannot be written", "Forbidden", "no earlier checkpoint")),
        ("run/checkpoints/3", ("the checkpoint of step 3 could not be written", "no earlier checkpoint")),
        ("run/checkpoints/6", ("the checkpoint of step 6 could not be written", "checkpoint is step 3")),
    ],
)
def test_a_bucket_that_refuses(bucket, path, words):
    bucket.fault = lambda request: 403 if (request.writes and path in request.path) or not path else None
    assert_one_line(run(*TRAIN), *words)


def test_evaluation_where_nothing_may_be_written(bucket):
    assert run(*TRAIN)[0] == 0
    bucket.fault = lambda request: 403 if request.writes else None
    assert_one_line(run("evaluate", WORKDIR), "gs://bucket/run/eval/val-6", "cannot be written", "Forbidden")
