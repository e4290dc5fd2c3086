"""Keeps a workdir to one run at a time."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from typing import BinaryIO

from etils import epath

from pix2pix_jax.errors import UserError
from pix2pix_jax.io import storage
from pix2pix_jax.runtime import console, distributed
from pix2pix_jax.workdir import folder as workdir_lib

NAME = "lock"  # the file in the workdir; during a run it names the process that holds it
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)


def check(workdir: epath.Path) -> None:
    """Raises UserError if another run holds the workdir; every process calls it, before slow set-up."""

    def lock_and_release() -> None:
        if not storage.is_object(workdir) and (workdir / NAME).is_file():
            _lock(workdir).close()

    _on_main_process(lock_and_release)


@contextlib.contextmanager
def hold(workdir: epath.Path) -> Iterator[None]:
    """Locks a workdir, and creates its folders; every process of a run calls it.

    Process 0 holds the lock. The system frees it when that process ends, however it ends. Buckets, and file systems
    without locks, cannot do that: there, a note says that the workdir may be in use.

    Raises:
      UserError: another run holds it, or the folder cannot be written.
    """

    def take() -> None:
        storage.make_folder(workdir)
        held.enter_context(_named_in_object(workdir) if storage.is_object(workdir) else _named_in_file(workdir))

    with contextlib.ExitStack() as held:
        _on_main_process(take)
        workdir_lib.make(workdir)
        yield


def _on_main_process(action: Callable[[], None]) -> None:
    """Runs `action` on process 0; if it raises a UserError there, raises one in all processes."""
    refusal: UserError | None = None
    if distributed.is_main_process():
        try:
            with workdir_lib.writing():
                action()
        except UserError as error:
            refusal = error
    if not distributed.everywhere(refusal is None):
        raise refusal or UserError("process 0 of this run cannot have the workdir, and says why")


def _lock(workdir: epath.Path) -> BinaryIO:
    """Returns the locked file; closing it ends the lock. Raises UserError if another process has locked it."""
    # Opened without truncation: until the lock is ours, the content is another's.
    file = os.fdopen(os.open(workdir / NAME, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with file:
            holder = _printable(file.read(1000)) or "it has just begun"
        raise UserError(
            f"{workdir}: another run is under way in it ({holder}); wait for it, stop it, or use another --workdir"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            file.close()
            raise
        console.log(f"note: {workdir}: its file system has no locks ({error.strerror}); let no other run use it")
    return file


@contextlib.contextmanager
def _named_in_file(workdir: epath.Path) -> Iterator[None]:
    with _lock(workdir) as file:
        file.truncate(0)
        file.write(_this_process())
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                file.truncate(0)


@contextlib.contextmanager
def _named_in_object(workdir: epath.Path) -> Iterator[None]:
    """Names this process in an object, and logs a note if another is named there, which may be dead."""
    path = workdir / NAME
    before = storage.read(path)
    if before and before != _this_process():
        console.log(
            f"note: {workdir}: {_printable(before)} did not end its run in it; if it is still at work, stop this one"
        )
    storage.write(path, _this_process())
    yield
    with contextlib.suppress(OSError):
        storage.write(path, b"")


def _this_process() -> bytes:
    return f"process {os.getpid()} on {socket.gethostname()}\n".encode()


def _printable(content: bytes) -> str:
    return " ".join(content.decode(errors="replace").split())
