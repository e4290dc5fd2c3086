"""A stand-in for Google Cloud Storage on 127.0.0.1: the part of its JSON API that gcsfs, tensorstore and orbax use.

Objects live in memory. As on the real thing a put is atomic, nothing can be appended, listings are consistent at once,
and `ifGenerationMatch` guards a write. Faults can be injected: see `FakeGCS.fault`.
"""

import base64
import contextlib
import dataclasses
import email
import http.server
import itertools
import json
import re
import socket
import struct
import threading
import urllib.parse
import zlib
from collections.abc import Callable, Iterator

from serving import serving

_OBJECT = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/([^/]+)")
_COPY = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/(rewriteTo|copyTo)/b/([^/]+)/o/([^/]+)")
_MOVE = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/moveTo/o/([^/]+)")
_LIST = re.compile(r"/storage/v1/b/([^/]+)/o/?")
_UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o/?")
_BUCKET = re.compile(r"/storage/v1/b/([^/]+)/?")


@dataclasses.dataclass(frozen=True)
class Stored:
    """An object: its bytes and the generation, which every put raises."""

    data: bytes
    generation: int


@dataclasses.dataclass(frozen=True)
class MetricsConfig:
    """What a fault decides on: the method, the path (unquoted) and the number of requests before it."""

    method: str
    path: str
    number: int

    @property
    def writes(self) -> bool:
        return self.method != "GET"


# A fault answers a request with an HTTP status, "reset" (the connection breaks) or "hold" (`held` is set, and
# the connection breaks once released); None: no fault.
Fault = Callable[[MetricsConfig], int | str | None]


class FakeGCS:
    """One bucket, "bucket", that any number of clients use at once."""

    def __init__(self):
        self.objects: dict[str, Stored] = {}
        self.fault: Fault = lambda request: None
        self.requests: list[MetricsConfig] = []
        self.lock = threading.RLock()
        self.held = threading.Event()
        self._released = threading.Event()
        self.uploads: dict[str, tuple[str, dict, bytearray]] = {}
        self._generations = itertools.count(1)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead gcsfs, google-cloud-storage and tensorstore here, without credentials."""
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "TENSORSTORE_GCS_HTTP_URL": self.url,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "nobody",  # of tensorstore
            "FSSPEC_GCS_TOKEN": "anon",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # which asks over gRPC what kind of bucket this is
            "NO_GCE_CHECK": "true",
        }

    @contextlib.contextmanager
    def running(self) -> Iterator["FakeGCS"]:
        with serving(self._server):
            yield self

    def release(self) -> None:
        """Lets requests that were held fail, and gets ready for others."""
        self._released.set()
        self.held.clear()
        self._released = threading.Event()

    def hold(self) -> None:
        released = self._released
        self.held.set()
        released.wait(60)

    def names(self, prefix: str = "") -> list[str]:
        with self.lock:
            return sorted(name for name in self.objects if name.startswith(prefix))

    def put(self, name: str, data: bytes, condition: str | None = None) -> Stored | None:
        """Stores an object; None if `condition`, a generation (0: none yet), does not hold."""
        with self.lock:
            there = self.objects.get(name)
            if condition is not None and int(condition) != (there.generation if there else 0):
                return None
            self.objects[name] = Stored(bytes(data), next(self._generations))
            return self.objects[name]


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address) -> None:
        """A client that has gone, killed perhaps, is nothing to tell of."""


def _handler(store: FakeGCS) -> type[http.server.BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"store": store})


class _Handler(http.server.BaseHTTPRequestHandler):
    store: FakeGCS
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *arguments) -> None:
        pass

    def _handle(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        self.query = {k: v[-1] for k, v in urllib.parse.parse_qs(url.query, keep_blank_values=True).items()}
        self.body = self._read_body()
        with self.store.lock:
            request = MetricsConfig(self.command, urllib.parse.unquote(self.path), len(self.store.requests))
            self.store.requests.append(request)
            fault = self.store.fault(request)
        if fault == "hold":
            self.store.hold()
        if fault in ("reset", "hold"):
            # Closing with data unread, and at once, is what makes the peer see a reset instead of an end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif fault is not None:
            self._fail(fault)
        else:
            self._route(url.path)

    do_GET = do_POST = do_PUT = do_DELETE = _handle

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            body = self.rfile.read(length := int(self.headers.get("Content-Length", 0)))
            if len(body) < length:
                raise ConnectionResetError("killed between the head of a request and the end of its body")
            return body
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(body)

    def _route(self, path: str) -> None:
        unquoted = urllib.parse.unquote
        if match := _UPLOAD.fullmatch(path):
            self._upload()
        elif match := _COPY.fullmatch(path):
            self._copy(unquoted(match[2]), unquoted(match[5]), match[3])
        elif match := _MOVE.fullmatch(path):
            self._move(unquoted(match[2]), unquoted(match[3]))
        elif match := _OBJECT.fullmatch(path):
            self._object(unquoted(match[2]))
        elif _LIST.fullmatch(path):
            self._list()
        elif _BUCKET.fullmatch(path):
            self._reply({"kind": "storage#bucket", "name": "bucket", "id": "bucket"})
        else:
            self._fail(404)

    def _object(self, name: str) -> None:
        with self.store.lock:
            stored = self.store.objects.get(name)
            if stored is None:
                self._fail(404)
            elif not self._condition_holds(stored):
                self._fail(304 if "ifGenerationNotMatch" in self.query else 412)
            elif self.command == "DELETE":
                del self.store.objects[name]
                self._send(204, b"")
            elif self.query.get("alt") == "media" or self.path.startswith("/download"):
                self._media(stored)
            else:
                self._reply(_metadata(name, stored))

    def _condition_holds(self, stored: Stored) -> bool:
        wanted, unwanted = self.query.get("ifGenerationMatch"), self.query.get("ifGenerationNotMatch")
        return wanted in (None, str(stored.generation)) and unwanted != str(stored.generation)

    def _media(self, stored: Stored) -> None:
        headers = {
            "x-goog-generation": str(stored.generation),
            "x-goog-stored-content-length": str(len(stored.data)),
            "Content-Type": "application/octet-stream",
        }
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            self._send(200, stored.data, headers)
            return
        size = len(stored.data)
        first = int(asked[1]) if asked[1] else max(size - int(asked[2]), 0)
        last = min(int(asked[2]), size - 1) if asked[1] and asked[2] else size - 1
        if first >= size:
            self._fail(416)
            return
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._send(206, stored.data[first : last + 1], headers)

    def _list(self) -> None:
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        from_, until = self.query.get("startOffset", ""), self.query.get("endOffset", "")
        items, folders = [], set()
        with self.store.lock:
            for name in self.store.names(prefix):
                if name < from_ or (until and name >= until):
                    continue
                end = name.find(delimiter, len(prefix)) if delimiter else -1
                if end >= 0:
                    folders.add(name[: end + len(delimiter)])
                if end < 0 or (self.query.get("includeTrailingDelimiter") == "true" and end == len(name) - 1):
                    items.append(_metadata(name, self.store.objects[name]))
        self._reply({"kind": "storage#objects", "items": items, "prefixes": sorted(folders)})

    def _copy(self, source: str, target: str, how: str) -> None:
        with self.store.lock:
            if source not in self.store.objects:
                self._fail(404)
                return
            stored = self.store.put(target, self.store.objects[source].data)
        resource = _metadata(target, stored)
        self._reply({"done": True, "resource": resource} if how == "rewriteTo" else resource)

    def _move(self, source: str, target: str) -> None:
        with self.store.lock:
            if source not in self.store.objects:
                self._fail(404)
                return
            stored = self.store.put(target, self.store.objects.pop(source).data)
        self._reply(_metadata(target, stored))

    def _upload(self) -> None:
        kind = self.query.get("uploadType")
        if kind == "media":
            self._store(self.query["name"], self.body)
        elif kind == "multipart":
            about, data = _parts(self.body, self.headers["Content-Type"])
            self._store(self.query.get("name") or about["name"], data)
        elif "upload_id" in self.query:
            self._continue_upload(self.query["upload_id"])
        else:
            self._begin_upload()

    def _begin_upload(self) -> None:
        name = self.query.get("name") or json.loads(self.body)["name"]
        with self.store.lock:
            upload = str(len(self.store.uploads))
            self.store.uploads[upload] = (name, dict(self.query), bytearray())
        place = f"{self.store.url}/upload/storage/v1/b/bucket/o?uploadType=resumable&upload_id={upload}"
        self._send(200, b"", {"Location": place})

    def _continue_upload(self, upload: str) -> None:
        name, self.query, data = self.store.uploads[upload]
        where = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", self.headers.get("Content-Range", "bytes 0-0/*"))
        first, total = where[1], where[3]
        if first is not None:
            data[int(first) :] = self.body
        if total == "*" or len(data) < int(total):
            self._send(308, b"", {"Range": f"bytes=0-{len(data) - 1}"} if data else {})
        else:
            self._store(name, bytes(data))

    def _store(self, name: str, data: bytes) -> None:
        stored = self.store.put(name, data, self.query.get("ifGenerationMatch"))
        if stored is None:
            self._fail(412)
        else:
            self._reply(_metadata(name, stored))

    def _reply(self, value: dict) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _fail(self, status: int) -> None:
        message = json.dumps({"error": {"code": status, "message": f"injected or natural {status}"}}).encode()
        self._send(status, b"" if status == 304 else message, {"Content-Type": "application/json"})

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _metadata(name: str, stored: Stored) -> dict:
    return {
        "kind": "storage#object",
        "name": name,
        "bucket": "bucket",
        "id": f"bucket/{name}/{stored.generation}",
        "generation": str(stored.generation),
        "metageneration": "1",
        "size": str(len(stored.data)),
        "updated": "2026-01-01T00:00:00.000Z",
        "timeCreated": "2026-01-01T00:00:00.000Z",
        "etag": base64.b64encode(struct.pack(">I", zlib.crc32(stored.data))).decode(),
    }


def _parts(body: bytes, content_type: str) -> tuple[dict, bytes]:
    """(metadata, data) of a multipart/related body."""
    boundary = email.message_from_string(f"Content-Type: {content_type}\n\n").get_boundary().encode()
    _, about, data, _ = re.split(rb"\r?\n?--" + re.escape(boundary) + rb"(?:--)?", body)[:4]
    split = re.compile(rb"\r?\n\r?\n")
    return json.loads(split.split(about, maxsplit=1)[1]), split.split(data, maxsplit=1)[1]
