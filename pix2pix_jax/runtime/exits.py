"""Ends the program: exit codes, Ctrl-C, and output whose reader has gone."""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

EXIT_USER_ERROR = 2
EXIT_TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: preempted (and saved), or another process was lost; start it again
EXIT_INTERRUPTED = 130  # as shells report SIGINT; a run is saved and goes on with the same command
EXIT_UNHEARD = 141  # as shells report SIGPIPE
STOPPED = "\nstopped"  # printed on Ctrl-C, below a progress bar


def begin() -> None:
    """Makes Ctrl-C and a closed output end this process as `pix2pix` promises, from now on."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else the parent process had it ignored
        signal.signal(signal.SIGINT, _stop)
    # Workers that end at once leave semaphores, which Python's tracker frees; its warning would confuse.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    sys.stdout, sys.stderr = _Output(sys.stdout), _Output(sys.stderr)


def end() -> NoReturn:
    """Exits with code 0, and ignores Ctrl-C during the interpreter's tear-down."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(0)


def leave(code: int) -> NoReturn:
    """Ends the process without the interpreter's tear-down.

    Errors of the libraries' threads there, as after a full disk, would bury our message. All files are complete.
    """
    for worker in multiprocessing.active_children():
        worker.terminate()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # a signal may have come in the middle of a write
            stream.flush()
    os._exit(code)


def _stop(number, frame) -> NoReturn:
    """Ends the program on Ctrl-C wherever it is: files are written whole or not at all, and training saves by itself.

    A KeyboardInterrupt may be lost: libraries swallow it while they are imported, and in their callbacks.
    """
    with contextlib.suppress(OSError):
        os.write(2, f"{STOPPED}\n".encode())
    leave(EXIT_INTERRUPTED)


class _Output:
    """Wraps a standard stream, and ends the program once its reader has gone, as `head` does when it has its lines."""

    def __init__(self, stream: TextIO | None):
        self._stream = stream or open(os.devnull, "w")  # noqa: SIM115, None stands for one that was closed before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return _while_read(self._stream.write, text)

    def flush(self) -> None:
        _while_read(self._stream.flush)


def _while_read(action: Callable, *arguments: str) -> Any:
    try:
        return action(*arguments)
    except BrokenPipeError:
        for worker in multiprocessing.active_children():
            worker.terminate()
        os._exit(EXIT_UNHEARD)  # at once, as flushing would write again
