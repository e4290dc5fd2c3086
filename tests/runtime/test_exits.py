"""Ctrl-C at any moment, and output that nobody reads: real processes and real signals."""

import os
import signal
import subprocess
import sys
import time

import processes
import pytest

PIX2PIX = [sys.executable, "-m", "pix2pix_jax"]
# Becomes the program that its arguments say; what it ignores, that would too.
HEAR_INTERRUPTS = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def start(*arguments, environment=os.environ, **pipes) -> subprocess.Popen:
    """As from a shell in a terminal; the test's own may have been started with Ctrl-C ignored."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | pipes
    command = [sys.executable, "-c", HEAR_INTERRUPTS, *PIX2PIX, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, **pipes)


def assert_stopped(process: subprocess.Popen, within: float = 30) -> None:
    """One line is said, and that is all that is seen beside progress bars; nothing where all was done before.

    On a fast machine training may have begun: its line says that the state is saved.
    """
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, stderr = process.communicate(timeout=within)
    assert process.returncode in (0, 130), stderr
    assert "Traceback" not in stderr and "Exception ignored" not in stderr, stderr
    said = stderr.endswith(("\nstopped\n", "which is saved; the same command goes on from there\n"))
    assert (process.returncode == 130) == said, stderr
    assert time.monotonic() - began < within


def has_begun(process: subprocess.Popen) -> bool:
    """Whether it has come to the import of NumPy or JAX; by then it listens."""
    with open(f"/proc/{process.pid}/maps") as maps:
        return any("jaxlib" in line or "numpy" in line for line in maps)


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@linux
@pytest.mark.parametrize("pause", [0.0, 0.4, 1.2])
def test_ctrl_c_during_imports(tmp_path, pause):
    """NumPy's and JAX's: a KeyboardInterrupt is swallowed by some, and made an ImportError by others."""
    process = start("prepare", "--config=drawn_facades", f"--output={tmp_path}")
    processes.wait_for(lambda: has_begun(process), process)
    time.sleep(pause)
    assert_stopped(process)


@pytest.mark.heavy
@linux
@pytest.mark.parametrize("pause", [0.2 * i for i in range(12)])
@pytest.mark.parametrize("command", ["train", "translate", "evaluate"])
def test_ctrl_c_at_any_moment_of_the_start(trained, tmp_path, command, pause):
    """During imports, while the data are loaded and while programs are compiled."""
    flags = {
        "train": processes.tiny_run(tmp_path / "run", "--config.data_residency=device")[1:],
        "translate": [f"--workdir={trained}", f"--input={trained / 'samples'}", f"--output={tmp_path / 'out'}"],
        "evaluate": [f"--workdir={trained}", f"--output={tmp_path / 'out'}"],
    }
    process = start(command, *flags[command])
    processes.wait_for(lambda: has_begun(process), process)
    time.sleep(pause * 3)
    if process.poll() is None:
        assert_stopped(process)


@pytest.mark.heavy
@pytest.mark.parametrize("pause", [0, 1, 3, 6])
def test_ctrl_c_reaches_worker_processes_too_as_from_a_terminal(tmp_path, pause):
    """While they import their libraries, and later."""
    flags = ("--config.data_residency=host", "--config.num_workers=2")
    process = start(*processes.tiny_run(tmp_path / "run", *flags), start_new_session=True, stderr=subprocess.STDOUT)
    for line in process.stdout:
        if line.startswith("starting from step"):
            break
    time.sleep(pause)
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert "Traceback" not in output and "resource_tracker" not in output, output
    assert ("which is saved" in output) != output.endswith("\nstopped\n"), output


@pytest.mark.heavy
@pytest.mark.parametrize("index", [0, 1])
def test_ctrl_c_while_the_other_processes_are_awaited(tmp_path, index):
    address = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{processes.free_port()}"}
    numbers = {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": str(index)}
    process = start(*processes.tiny_run(tmp_path / "run"), environment={**os.environ, **address, **numbers})
    processes.wait_for(lambda: has_begun(process), process)
    time.sleep(8)
    assert_stopped(process)


@pytest.mark.heavy
@pytest.mark.parametrize("count", [1, 40, 99, 100])
def test_ctrl_c_in_evaluate_while_pictures_are_written_and_after_them(trained, tmp_path, count):
    images = tmp_path / "out" / "images"
    process = start("evaluate", f"--workdir={trained}", f"--output={tmp_path / 'out'}")
    processes.wait_for(lambda: len(list(images.glob("*-output.png"))) >= count, process)
    assert_stopped(process)


def test_a_reader_that_goes_away_ends_the_program_quietly(tmp_path):
    """As `| head -1`: of both streams, in a command that prints and draws bars."""
    command = ["prepare", "--config=drawn_facades", "--config.image_size=32,32", "--config.resize_size=32,32"]
    read, write = os.pipe()
    process = start(*command, f"--output={tmp_path}", stdout=write)
    os.close(write)
    os.close(read)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 141
    assert "Traceback" not in stderr and "BrokenPipe" not in stderr and "Exception" not in stderr


def test_help_through_a_closed_pipe():
    for stream in ("stdout", "stderr"):
        read, write = os.pipe()
        os.close(read)
        process = start("--help" if stream == "stdout" else "nonsense", **{stream: write})
        os.close(write)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 141 and not (out or "") + (err or "")


def test_without_any_standard_stream(tmp_path):
    command = " ".join([*PIX2PIX, "compare", str(tmp_path), ">&-", "2>&-"])
    assert subprocess.run(["bash", "-c", command], check=False).returncode == 2
