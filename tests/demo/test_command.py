"""`pix2pix demo` as a process: what it prints, and Ctrl-C."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

pytestmark = pytest.mark.heavy


# Becomes the program that its arguments say, which would inherit that Ctrl-C is ignored.
HEAR_INTERRUPTS = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def start(*arguments) -> subprocess.Popen:
    program = [sys.executable, "-m", "pix2pix_jax", "demo", "--no-browser", *arguments]
    command = [sys.executable, "-c", HEAR_INTERRUPTS, *program]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_it_takes_the_next_port_prints_the_address_and_ends_on_ctrl_c(trained):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(f"--workdir={trained}", f"--port={port}")
        lines = []
        while not (found := re.search(r"draw on (http://127\.0\.0\.1:(\d+)/\S+/)", lines[-1] if lines else "")):
            lines.append(process.stdout.readline())
            assert lines[-1], process.communicate()[1][-2000:]
    assert f"note: port {port} is in use; taking {found[2]}\n" in lines
    with urllib.request.urlopen(found[1], timeout=10) as page:
        assert b"page.js" in page.read()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130 and stderr.endswith("\nstopped\n"), stderr
    assert "Traceback" not in stderr


def test_other_hosts_come_with_a_warning(trained):
    process = start(f"--workdir={trained}", "--host=0.0.0.0", "--port=0")
    line = process.stdout.readline()
    process.kill()
    process.communicate()
    assert line.startswith("note: --host=0.0.0.0: whoever reaches this machine")
