"""Keeps a workdir to one run at a time."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from pix2pix_jax.errors import UserError
from pix2pix_jax.io import storage
from pix2pix_jax.runtime import console, distributed
from pix2pix_jax.workdir import folder as workdir_lib

NAME = "lock"  # the file in the workdir; during a run it names the process that holds it
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)


def check(workdir: epath.Path) -> None:
    """Raises UserError if another run holds the workdir; every process calls it, before slow set-up."""
    with contextlib.ExitStack() as held:
        _together(lambda: _try(workdir, held))


@contextlib.contextmanager
def hold(workdir: epath.Path) -> Iterator[None]:
    """Locks a workdir, and creates its folders; every process of a run calls it.

    Process 0 holds the lock. The system frees it when that process ends, however it ends. Buckets, and file systems
    without locks, cannot do that: there, a note says that the workdir may be in use.

    Raises:
      UserError: another run holds it, or the folder cannot be written.
    """
    with contextlib.ExitStack() as held:
        _together(lambda: _take(workdir, held))
        workdir_lib.make(workdir)
        yield


def _together(action: Callable[[], Any]) -> None:
    """Runs `action` on process 0; if it raises a UserError there, raises one in all processes."""
    refusal: UserError | None = None
    if distributed.is_main_process():
        try:
            action()
        except UserError as error:
            refusal = error
    if jax.process_count() > 1 and multihost_utils.process_allgather(np.int32(refusal is not None)).any():
        refusal = refusal or UserError("process 0 of this run cannot have the workdir, and says why")
    if refusal:
        raise refusal


def _try(workdir: epath.Path, held: contextlib.ExitStack) -> None:
    with workdir_lib.writing():
        if _is_lockable(workdir) and (workdir / NAME).is_file():
            _lock(workdir, held)


def _take(workdir: epath.Path, held: contextlib.ExitStack) -> None:
    with workdir_lib.writing():
        storage.make_folder(workdir)
        if not _is_lockable(workdir):
            held.enter_context(_named(workdir / NAME))
            return
        file = _lock(workdir, held)
        file.truncate(0)
        file.write(_holder())
        held.callback(_empty, file)  # runs before the file is closed, which ends the lock


def _is_lockable(workdir: epath.Path) -> bool:
    return not storage.is_object(workdir)


def _lock(workdir: epath.Path, held: contextlib.ExitStack) -> BinaryIO:
    """Returns the locked file, which `held` closes. Raises UserError if another process has locked it."""
    # Opened without truncation: until the lock is ours, the content is another's.
    descriptor = os.open(workdir / NAME, os.O_RDWR | os.O_CREAT, 0o666)
    file = held.enter_context(os.fdopen(descriptor, "r+b", buffering=0))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"{workdir}: another run is under way in it ({_shown(file.read(1000))}); wait for it, stop it, or use "
            "another --workdir"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        console.log(
            f"note: {workdir}: its file system has no locks ({error.strerror}); see to it that no other run uses it"
        )
    return file


def _holder() -> bytes:
    return f"process {os.getpid()} on {socket.gethostname()}\n".encode()


def _shown(content: bytes) -> str:
    return " ".join(content.decode(errors="replace").split()) or "it has just begun"


def _empty(file: BinaryIO) -> None:
    with contextlib.suppress(OSError):
        file.truncate(0)


@contextlib.contextmanager
def _named(path: epath.Path) -> Iterator[None]:
    """Names this process in an object, and logs a note if another is named there, which may be dead."""
    before = storage.read(path).strip()
    if before and before != _holder().strip():
        console.log(
            f"note: {path.parent}: {_shown(before)} did not end its run in it; if it is still at work, stop this one"
        )
    storage.write(path, _holder())
    yield
    with contextlib.suppress(OSError):
        storage.write(path, b"")
