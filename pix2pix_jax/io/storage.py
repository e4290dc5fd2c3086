"""Reads and writes files on a disk or an object store (gs://), whole or not at all, with retries.

Everything that differs between the two is here. A local file is written under another name and then renamed; an
object is always put whole. A local log grows in place; an object cannot grow, so a log there is kept in memory and put
again from time to time by a thread.

Every error is an OSError with `filename` and a one-line `strerror`, whatever library failed.
"""

import errno
import importlib.util
import io
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

from etils import epath

from pix2pix_jax.errors import UserError

PATIENCE = 120.0  # seconds for which transient errors are retried
UPLOAD_PERIOD = 30.0  # seconds between two puts of a growing object

_PARTIAL = ".partial"  # ends the names of files being written; only a killed run leaves any
_PASSING = (
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EPIPE),
    *(errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH),
)
_REMOTE_LIBRARIES = ("gcsfs", "fsspec", "aiohttp", "requests", "urllib3", "google", "tensorflow")


def folder(path: epath.PathLike) -> epath.Path:
    """Returns a user's path with ~ expanded. Raises UserError for a URL other than gs://, or without gcsfs."""
    scheme, separator, name = os.fspath(path).partition("://")
    if not separator:
        return epath.Path(path).expanduser()
    if scheme != "gs" or not name.strip("/"):
        raise UserError(f"{os.fspath(path)}: neither a folder nor gs://BUCKET/NAME")
    if importlib.util.find_spec("gcsfs") is None:
        raise UserError(f"{os.fspath(path)}: gs:// needs gcsfs; pip install gcsfs, or '.[gcs]'")
    _keep_no_lists()
    return epath.Path(path)


def _keep_no_lists() -> None:
    """Has gcsfs ask the bucket each time: from lists that it keeps it takes folders for present that are gone."""
    import fsspec.config

    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False


def absolute(path: epath.Path) -> epath.Path:
    """Makes a path absolute; epath's `resolve` would take gs:// for a folder's name."""
    return path if is_object(path) else path.resolve()


def make_folder(path: epath.Path) -> None:
    """Creates a folder and those above it, if need be."""
    _attempt(path, lambda: path.mkdir(parents=True, exist_ok=True))


def read(path: epath.Path) -> bytes:
    """Reads a file; returns b"" if there is none."""

    def attempt() -> bytes:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return b""

    return _attempt(path, attempt)


def write(path: epath.Path, data: bytes) -> None:
    """Writes a file into an existing folder; killed at any instant, it leaves the old file or the new one."""
    _attempt(path, lambda: path.write_bytes(data) if is_object(path) else _write_local(path, data))


def _write_local(path: epath.Path, data: bytes) -> None:
    partial = path.parent / f".{path.name}.{os.getpid()}{_PARTIAL}"
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # or a power failure could leave the new name with no content
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def delete(path: epath.Path) -> None:
    """Deletes a file if it exists."""
    _attempt(path, lambda: path.unlink(missing_ok=True))


def sweep(path: epath.Path) -> None:
    """Removes the half-written files of killed writers from a folder."""
    if not is_object(path):
        for file in path.glob(f".*{_PARTIAL}"):
            file.unlink(missing_ok=True)


def open_log(path: epath.Path, content: bytes = b"") -> "Log":
    """Opens a file that grows, for several threads. It begins with `content`, which replaces the file's."""
    if read(path) != content or not content:
        write(path, content)
    return _ObjectLog(path, content) if is_object(path) else _LocalLog(path, len(content))


class _LocalLog:
    """Opens its file for each append, to see the errors that network file systems report at closing."""

    def __init__(self, path: epath.Path, size: int):
        self._path, self._size, self._lock = path, size, threading.Lock()

    def append(self, data: bytes) -> None:
        """Adds whole lines or records, which other programs see at once."""
        with self._lock:
            _attempt(self._path, lambda: self._append(data))

    def _append(self, data: bytes) -> None:
        with open(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o666), "wb", buffering=0) as file:
            # At a known offset, so that a retry overwrites what the first attempt left.
            place = file.seek(min(self._size, file.seek(0, io.SEEK_END)))
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                file.truncate(place)  # no half line on a full disk
                raise
        self._size = place + len(data)

    def commit(self) -> None:
        """Waits until all that was appended would survive a crash of the machine."""
        with self._lock:
            _attempt(self._path, self._sync)

    def _sync(self) -> None:
        with open(self._path, "rb") as file:
            os.fsync(file.fileno())

    close = commit


class _ObjectLog:
    """Keeps its whole text; a thread puts it, at most every 30 s and for at most a tenth of the time."""

    def __init__(self, path: epath.Path, content: bytes):
        self._path, self._content, self._lock = path, bytearray(content), threading.Lock()
        self._put_size, self._next = len(content), time.monotonic() + UPLOAD_PERIOD
        self._thread = futures.ThreadPoolExecutor(1)
        self._upload: futures.Future = self._thread.submit(lambda: None)

    def append(self, data: bytes) -> None:
        """Adds whole lines or records, which other programs see within 30 seconds."""
        with self._lock:
            self._content += data
            if self._upload.done():
                self._upload.result()  # raises the error of the last put
                if time.monotonic() >= self._next:
                    self._upload = self._thread.submit(self._put)

    def commit(self) -> None:
        """Waits until all that was appended is in the object."""
        with self._lock:
            self._upload.result()
            self._upload = upload = self._thread.submit(self._put)
        upload.result()

    def close(self) -> None:
        try:
            self.commit()
        finally:
            self._thread.shutdown()

    def _put(self) -> None:
        begin, content = time.monotonic(), bytes(self._content)
        if len(content) > self._put_size:
            write(self._path, content)
            self._put_size = len(content)
        end = time.monotonic()
        self._next = end + max(UPLOAD_PERIOD, 9 * (end - begin))


Log = _LocalLog | _ObjectLog


def is_object(path: epath.Path) -> bool:
    return "://" in os.fspath(path)


def _attempt(path: epath.Path, action: Callable[[], Any]) -> Any:
    """Runs `action`, and retries it for two minutes while its errors are transient."""
    give_up, delay = time.monotonic() + PATIENCE, 0.5
    while True:
        try:
            return action()
        except Exception as error:
            if not _may_pass(error) or time.monotonic() + delay > give_up:
                raise as_os_error(error, path) from error
        time.sleep(delay)
        delay = min(2 * delay, 10.0)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, ConnectionError | TimeoutError) or getattr(error, "errno", None) in _PASSING:
        return True
    gcsfs = sys.modules.get("gcsfs.retry")  # knows the errors of the libraries it uses, and the server's 5xx
    return gcsfs is not None and gcsfs.is_retriable(error)


def as_os_error(error: Exception, path: epath.Path) -> Exception:
    """Returns a file system's error as an OSError with all its fields; any other error as it is."""
    if isinstance(error, OSError) and error.strerror:
        return error if error.filename else OSError(error.errno, error.strerror, str(path))
    library = type(error).__module__.partition(".")[0]
    if isinstance(error, OSError) or library in _REMOTE_LIBRARIES:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return OSError(errno.EIO, reason, str(path))
    return error
