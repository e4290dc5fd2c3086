"""Files of a workdir: whole or not at all at every instant, tried again, and the same on a disk and in a bucket."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
from etils import epath

from pix2pix_jax.errors import UserError
from pix2pix_jax.io import storage


@pytest.fixture(params=["disk", "bucket"])
def folder(request, tmp_path):
    """A folder of each kind."""
    if request.param == "disk":
        return epath.Path(tmp_path) / "run"
    request.getfixturevalue("bucket")
    return storage.folder("gs://bucket/run")


@pytest.fixture
def brief(monkeypatch):
    """Little patience."""
    monkeypatch.setattr(storage, "PATIENCE", 2.0)


def test_files_are_read_and_replaced(folder):
    storage.make_folder(folder / "a" / "b")
    file = folder / "a" / "b" / "file"
    assert storage.read(file) == b""
    for content in (b"first", b"", b"x" * 7_000_000):
        storage.write(file, content)
        assert storage.read(file) == content
    assert [path.name for path in (folder / "a" / "b").iterdir()] == ["file"]


def test_a_log_begins_with_what_is_kept_and_grows(folder):
    storage.make_folder(folder)
    storage.write(folder / "log", b"one\ntwo\nthr")
    log = storage.open_log(folder / "log", b"one\n")
    assert storage.read(folder / "log") == b"one\n"
    log.append(b"2\n")
    log.append(b"3\n")
    log.commit()
    assert storage.read(folder / "log") == b"one\n2\n3\n"
    log.append(b"4\n")
    log.close()
    assert storage.read(folder / "log") == b"one\n2\n3\n4\n"


def test_a_log_takes_lines_of_several_threads(folder):
    storage.make_folder(folder)
    log = storage.open_log(folder / "log")
    writers = [threading.Thread(target=lambda n=n: [log.append(b"%d\n" % n) for _ in range(50)]) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    log.close()
    lines = storage.read(folder / "log").split()
    assert sorted(lines) == [b"%d" % n for n in range(4) for _ in range(50)]


def test_a_log_in_a_bucket_is_put_now_and_then_and_by_a_thread(bucket, monkeypatch):
    log = storage.open_log(storage.folder("gs://bucket/log"))
    before = len(bucket.requests)
    log.append(b"1\n")
    assert len(bucket.requests) == before  # too early
    monkeypatch.setattr(storage, "UPLOAD_PERIOD", 0.0)
    log.commit()
    held = threading.Event()
    bucket.fault = lambda request: held.wait(20) and None
    log.append(b"2\n")  # returns though nothing is answered
    assert bucket.objects["log"].data == b"1\n"
    held.set()
    log.close()
    assert bucket.objects["log"].data == b"1\n2\n"


# Runs a log as train.py does (lines, then the checkpoint of their last step), killed before each line of storage.py in
# turn. Each kill is a process; each start goes on with what the one before has left.
KILLS = """
    import json, os, pathlib, signal, sys
    from etils import epath
    from pix2pix_jax.io import storage
    from pix2pix_jax.workdir import logs

    folder = epath.Path(sys.argv[1])

    def checkpoint():
        file = pathlib.Path(folder / "checkpoint")
        return int(file.read_text()) if file.exists() else 0

    def lines():
        return (folder / "metrics.jsonl").read_text().split("\\n") if (folder / "metrics.jsonl").exists() else [""]

    def run():
        storage.make_folder(folder)
        storage.sweep(folder)
        start = checkpoint()
        path = folder / "metrics.jsonl"
        log = storage.open_log(path, logs._lines_until(start, storage.read(path)))
        for step in range(start + 1, start + 4):
            log.append(b'{"step": %d}\\n' % step)
        log.commit()
        storage.write(folder / "checkpoint", b"%d" % step)
        log.append(b'{"step": %d}\\n' % (step + 1))

    def kill_before(line):
        count = 0
        def trace(frame, event, argument):
            nonlocal count
            if frame.f_code.co_filename != storage.__file__:
                return None
            count += 1
            if count == line:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace
        sys.settrace(trace)

    for line in range(1, 10_000):
        child = os.fork()
        if not child:
            kill_before(line)
            run()
            os._exit(0)
        ended = os.waitpid(child, 0)[1]
        saved = checkpoint()
        steps = [json.loads(text)["step"] for text in lines()[:-1]]
        assert steps[:saved] == list(range(1, saved + 1)), (line, saved, steps)
        if not ended:
            break
        assert ended == signal.SIGKILL, ended
    assert sorted(path.name for path in pathlib.Path(folder).iterdir()) == ["checkpoint", "metrics.jsonl"]
    print(line - 1, "kills")
"""


@pytest.mark.heavy
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_kill_at_any_line_loses_and_doubles_nothing(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(KILLS), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 100


def test_what_a_killed_writer_left_is_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *paths: os.kill(os.getpid(), signal.SIGUSR1))
    monkeypatch.setattr(type(epath.Path(tmp_path)), "unlink", lambda *arguments, **keywords: None)
    previous = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    storage.write(epath.Path(tmp_path) / "file", b"data")
    signal.signal(signal.SIGUSR1, previous)
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 1
    storage.sweep(epath.Path(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_passing_errors_of_a_disk_are_tried_again(tmp_path, monkeypatch, code):
    real, calls = os.fsync, []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    storage.write(epath.Path(tmp_path) / "file", b"data")
    assert (tmp_path / "file").read_bytes() == b"data" and len(calls) == 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_other_errors_of_a_disk_are_not(tmp_path, monkeypatch, code):
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        raise OSError(code, os.strerror(code))

    (tmp_path / "file").write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=os.strerror(code)) as raised:
        storage.write(epath.Path(tmp_path) / "file", b"data")
    assert len(calls) == 1
    assert raised.value.filename == str(tmp_path / "file")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_a_full_disk_leaves_no_half_line(tmp_path):
    resource = pytest.importorskip("resource")
    log = storage.open_log(epath.Path(tmp_path) / "log", b"one\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))  # as good as a disk of 10 bytes
    try:
        with pytest.raises(OSError, match="File too large"):
            log.append(b"a long line\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "log").read_bytes() == b"one\n"
    log.append(b"two\n")
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_passing_errors_of_a_bucket_are_tried_again(bucket):
    first = len(bucket.requests)
    faults = {0: 503, 1: "reset", 3: 429}
    bucket.fault = lambda request: faults.get(request.number - first)
    storage.write(storage.folder("gs://bucket/file"), b"data")
    assert storage.read(storage.folder("gs://bucket/file")) == b"data"


@pytest.mark.heavy  # gcsfs itself tries for half a minute
def test_a_bucket_that_stays_away_is_given_up(bucket, brief):
    bucket.fault = lambda request: "reset"
    with pytest.raises(OSError) as raised:
        storage.write(storage.folder("gs://bucket/file"), b"data")
    assert raised.value.strerror and raised.value.filename == "gs://bucket/file"


def test_a_bucket_that_refuses_is_asked_once(bucket):
    log = storage.open_log(storage.folder("gs://bucket/log"), b"1\n")
    before = len(bucket.requests)
    bucket.fault = lambda request: 403
    log.append(b"2\n")
    with pytest.raises(OSError, match="Forbidden") as raised:
        log.commit()
    assert raised.value.filename == "gs://bucket/log"
    assert len(bucket.requests) == before + 1
    assert bucket.objects["log"].data == b"1\n"


def test_places_that_cannot_be_served(monkeypatch):
    with pytest.raises(UserError, match="s3://x/y: neither a folder nor gs://"):
        storage.folder("s3://x/y")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"gs://x/y: gs:// needs gcsfs; pip install"):
        storage.folder("gs://x/y")


def test_the_log_is_json_lines(tmp_path):
    """What is kept of a log: whole lines, up to the step."""
    from pix2pix_jax.workdir import logs

    content = b'{"step": 1}\nnot json\n{"step": 2}\n\xff\n[]\n{"step": 3}\n{"st'
    assert [json.loads(line)["step"] for line in logs._lines_until(2, content).splitlines()] == [1, 2]
