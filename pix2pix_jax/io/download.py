"""Downloads one large file with a progress bar, and resumes a download that broke off.

TFDS' own downloader begins from nothing again after every break, for up to 8 GB here, and retries for minutes without
a word. What HTTP has for this is in RFC 9110: ranges in section 14, and validators, which tell whether the file is
still the same one, in 8.8.
"""

import contextlib
import fcntl
import http.client
import pathlib
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

from pix2pix_jax.errors import UserError
from pix2pix_jax.runtime.console import bar

_TIMEOUT = 30.0  # seconds without a byte
_WAITS = (1, 2, 4, 8)  # seconds before each further attempt
_PROGRESS = 2**20  # bytes after which a break counts as the first one again
_CHUNK = 2**18
_PASSING = (408, 425, 429)  # status codes of the client's side worth another attempt; all of the server's side are


class _Refused(Exception):
    """Signals that another attempt is useless."""


class _Broken(Exception):
    """Signals that another attempt may get further."""


class _Unreachable(_Broken):
    """Signals that the server did not answer."""


def fetch(url: str, target: pathlib.Path, *, remedy: str) -> None:
    """Downloads `url` to `target`, which appears once it is whole. Does nothing if it is there.

    The beginning of a download that broke off or was killed stays as `TARGET.part`, and the next call asks the server
    for the rest, if the server still has the same file and can send parts. One process downloads, others wait for it.

    Raises UserError if the file cannot be downloaded, whose message begins with `url` and ends with the advice
    `remedy`; raises OSError if `target` cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target):
        if target.exists():
            return
        part = _Part(target)
        try:
            if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
                raise _Refused("not an http or https address")
            _download(url, part)
        except (_Refused, _Broken) as error:
            kept = f", the first {part.size():,} bytes are kept" if part.rest() else ""
            raise UserError(f"{url}: cannot be downloaded ({_one_line(error)}{kept}); {remedy}") from error
        part.finish(target)


class _Part:
    """Keeps the first part of a file in `NAME.part`, and the HTTP validator of its version in a second file."""

    def __init__(self, target: pathlib.Path):
        self.path = target.with_name(f"{target.name}.part")
        self._validator = target.with_name(f"{target.name}.part.version")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def rest(self) -> dict[str, str]:
        """Returns the headers that ask for the rest; {} if the server has to send the whole file."""
        validator = self._validator.read_text() if self._validator.exists() else ""
        # Under If-Range, a server whose file has changed sends the whole of it.
        return {"Range": f"bytes={self.size()}-", "If-Range": validator} if self.size() and validator else {}

    def begin(self, validator: str = "") -> None:
        self.path.write_bytes(b"")  # first, so that bytes never get the validator of another version
        self._validator.write_text(validator)

    def finish(self, target: pathlib.Path) -> None:
        self.path.replace(target)
        self._validator.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(target: pathlib.Path) -> Iterator[None]:
    with target.with_name(f"{target.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{target}: another process is downloading it; waiting", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks
        yield


def _download(url: str, part: _Part) -> None:
    """Tries until the file is whole; gives up once as many attempts in a row as `_WAITS` has bring nothing new."""
    furthest, waits, was_reached = part.size(), iter(_WAITS), False
    while True:
        try:
            return _attempt(url, part)
        except _Broken as error:
            if isinstance(error, _Unreachable) and not was_reached:
                raise  # a wrong address or no network, rather than a passing fault
            was_reached = True
            if part.size() >= furthest + _PROGRESS:
                furthest, waits = part.size(), iter(_WAITS)
            wait = next(waits, None)
            if wait is None:
                raise
            print(f"{url}: {_one_line(error)}; trying again in {wait} s", file=sys.stderr)
            time.sleep(wait)


def _attempt(url: str, part: _Part) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "pix2pix_jax"} | part.rest())
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the server has nothing after what is here
            if error.headers.get("Content-Range", "") == f"bytes */{part.size()}":
                return
            part.begin()
        elif error.code not in _PASSING and error.code < 500:
            raise _Refused(error) from error
        raise _Broken(error) from error
    except urllib.error.URLError as error:
        raise _Unreachable(error.reason) from error
    except (ValueError, http.client.InvalidURL) as error:
        raise _Refused(error) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(error) from error
    with response:
        _receive(response, url, part)


def _receive(response: http.client.HTTPResponse, url: str, part: _Part) -> None:
    """Adds the body of the answer to `part`, with a progress bar."""
    first = _first_byte(response, part)
    total = None if response.length is None else first + response.length
    progress = bar(
        desc=urllib.parse.urlsplit(url).path.rpartition("/")[2],
        initial=first,
        total=total,
        unit="B",
        unit_scale=True,
        leave=True,  # a log file says that it has come
    )
    with part.path.open("ab") as file, progress:
        while chunk := _read(response):
            file.write(chunk)
            progress.update(len(chunk))
    if total is not None and part.size() != total:
        raise _Broken(f"the connection broke after {part.size():,} of {total:,} bytes")


def _first_byte(response: http.client.HTTPResponse, part: _Part) -> int:
    """Returns the byte of the file at which the answer's body begins; empties `part` if that is 0."""
    if response.status != 206:
        etag = response.headers.get("ETag", "")
        usable = etag if not etag.startswith("W/") else ""  # HTTP forbids weak ones for ranges
        part.begin(usable or response.headers.get("Last-Modified", ""))
    elif not re.match(rf"bytes {part.size()}-", response.headers.get("Content-Range", "")):
        part.begin()
        raise _Broken("the server sent another part than was asked for")
    return part.size()


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Broken(error) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error.__cause__).__name__
