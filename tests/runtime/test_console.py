"""Progress bars: in a real terminal of any width, in a log file, and in a notebook."""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

import pytest
from etils import epath

from pix2pix_jax.runtime import console
from pix2pix_jax.workdir import logs

LOSSES = {"g_gan": 1.234, "g_l1": 0.1234, "d_real": 0.5, "d_fake": 12.25}
SHOWN = "g_gan 1.234 g_l1 0.123 d_real 0.500 d_fake 12.250"


@pytest.fixture
def terminal(monkeypatch):
    """terminal(width): makes stderr a terminal of that many columns; returns what reads all that it shows."""
    opened = []

    def terminal(width):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        stream = open(slave, "w")  # noqa: SIM115, closed below
        opened.extend((stream, os.fdopen(master, "rb", buffering=0)))
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(sys, "stdout", stream)

        def read():
            stream.flush()
            shown = b""
            while select.select([opened[-1]], [], [], 0)[0]:
                shown += opened[-1].read(100_000)
            return shown.decode()

        return read

    yield terminal
    for stream in opened:
        stream.close()


def train(workdir, *, steps=1):
    """Logs as a run of 80,000 steps does."""
    with logs.RunLog(epath.Path(workdir), start=12_300, total=80_000, num_examples=400, batch_size=1) as log:
        for step in range(12_301, 12_301 + steps):
            log.progress(step, LOSSES if step == 12_300 + steps else dict.fromkeys(LOSSES, 9.0))
            time.sleep(0.02)


@pytest.mark.parametrize(
    ("width", "beside"),
    [
        (200, ("15% |", "step 12301/80000", "gone", "left", "epoch 31", "images/s")),
        (120, ("step 12301/80000", "left", "images/s")),
        (80, ("12301/80000",)),
        (52, ()),
    ],
)
def test_the_bar_keeps_the_losses(terminal, tmp_path, width, beside):
    read = terminal(width)
    train(tmp_path)
    last = read().rstrip("\r\n").split("\r")[-1].rstrip()
    assert len(last) <= width and last.endswith(SHOWN)
    assert all(text in last for text in beside), last


def test_a_line_is_printed_above_the_bar_of_a_terminal(terminal):
    read = terminal(80)
    with console.bar(total=2) as progress:
        progress.update()
        console.log("a line")
    assert "\ra line\r\n" in read()


def test_a_log_file_gets_a_line_a_minute_and_no_codes(tmp_path, monkeypatch):
    monkeypatch.setattr(console, "_LOG_PERIOD", 0.2)  # for a minute
    with (tmp_path / "log").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(sys, "stdout", stream)
        train(tmp_path, steps=25)  # half a second
        for _ in console.bar(range(3), desc="load", unit="pair", leave=False):
            console.log("a line")
    content = (tmp_path / "log").read_text()
    assert content.isascii() and not set(content) & set("\r\x1b\b")
    *progress, last, first, second, third = content.splitlines()
    assert first == second == third == "a line"
    assert 1 <= len(progress) <= 3 and all(line.endswith("d_real 9.000 d_fake 9.000") for line in progress)
    assert last.endswith(SHOWN)
    assert "step 12325/80000" in last and "left, epoch 31" in last


def test_a_bar_in_a_log_file_says_how_far_it_came(tmp_path, monkeypatch):
    """Where it took long enough."""
    with (tmp_path / "log").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        list(console.bar(range(3), desc="short", unit="image"))
        monkeypatch.setattr(console, "_LOG_PERIOD", 0.05)  # for a minute
        for _ in console.bar(range(4), desc="evaluate val", unit="image"):
            time.sleep(0.03)
    first, *_, last = (tmp_path / "log").read_text().splitlines()
    assert first.startswith("evaluate val:  50 %, 2/4 image")
    assert last == "evaluate val: 100 %, 4/4 image, 00:00 gone, 00:00 left"
