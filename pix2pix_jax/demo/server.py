"""Serves the page to browsers that know its address: bounded in size, time and connections, and nothing is written."""

import contextlib
import hmac
import ipaddress
import os
import re
import secrets
import socket
import socketserver
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pix2pix_jax.demo import site
from pix2pix_jax.demo.translation import Newest, SupersededError
from pix2pix_jax.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_CONNECTIONS = 32  # at once; a page needs a few
_PATIENCE = 10.0  # seconds in which a request must have come, and for each write
_LINGER = 3.0  # seconds for which the rest of a refused request is read, so that its sender sees the answer
_PORTS = 100  # number of ports to try
_MAX_SEED = 2**31 - 1
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page itself holds the other rules
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Content-Type-Options": "nosniff",
}


class Server(ThreadingHTTPServer):
    """Serves `files` and the translation of drawings below a secret path.

    Attributes:
      url: the address of the page, with its token.
    """

    daemon_threads = True
    request_queue_size = 64
    allow_reuse_address = os.name != "nt"  # where it would share a port in use

    def __init__(
        self,
        files: dict[str, bytes],
        translate: Callable[[bytes, int], bytes],
        *,
        num_bytes: int,
        host: str = "127.0.0.1",
        port: int = 0,
    ):
        """Binds the first free port from `port` on, or any if it is 0.

        Args:
          files: path -> content.
          translate: f(drawing, seed) -> translation, called by one thread at a time.
          num_bytes: the size of a drawing.
          host: name or address to listen on.
          port: the port.

        Raises:
          UserError: this machine has no such address, or no port is free.
        """
        self.files, self.translate, self.num_bytes = files, translate, num_bytes
        self.token, self.newest = secrets.token_urlsafe(16), Newest()
        self.host, self._slots = host, threading.BoundedSemaphore(_CONNECTIONS)
        self.address_family, address = _resolve(host)
        for number in range(port, min(port + _PORTS, 65536)):
            with contextlib.suppress(OSError):
                super().__init__((address, number), Handler)
                break
        else:
            raise UserError(f"--port={port}: in use, as are those after it, or not allowed; choose another")
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{self.server_port}/{self.token}/"

    def server_bind(self) -> None:
        """Binds without the look-up of the host's name in the base class, which may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, self.server_address[1]

    def knows(self, host: str) -> bool:
        """Returns whether a Host header names this server. A stranger's name that leads here is refused."""
        match = re.fullmatch(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", host.lower())
        name = match[1].strip("[]") if match else ""
        if self.host in LOOPBACK:  # at any port: it may be reached through a tunnel
            return name in LOOPBACK
        return name in (self.host.lower(), socket.gethostname().lower(), *LOOPBACK) or _is_address(name)

    def process_request(self, request, client_address) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._slots.release()
            raise

    def process_request_thread(self, request, client_address) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request, client_address) -> None:
        """Says nothing: a browser that goes away is no news."""


class Handler(BaseHTTPRequestHandler):
    """Answers one request of one connection."""

    server: Server
    timeout = _PATIENCE
    server_version, sys_version = "pix2pix", ""

    def handle(self) -> None:
        """Ends a connection whose request has not come in time, however slowly it drips."""
        self._has_read = False
        self._deadline = threading.Timer(_PATIENCE, self._give_up)
        self._deadline.daemon = True
        self._deadline.start()
        try:
            super().handle()
        finally:
            self._deadline.cancel()
        if not self._has_read:
            self._linger()

    def do_GET(self) -> None:
        path = self._checked_path()
        if path is None:
            return
        path = path.partition("?")[0] or "index.html"
        if path not in self.server.files:
            self.send_error(HTTPStatus.NOT_FOUND, "there is no such file")
            return
        self._has_read = True
        self._answer(self.server.files[path], site.content_type(path))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        path = self._checked_path()
        if path is None:
            return
        name, _, query = path.partition("?")
        seed = re.fullmatch(r"seed=([0-9]{1,10})", query)
        if name != "translate":
            self.send_error(HTTPStatus.NOT_FOUND, "only drawings can be sent, to translate")
        elif not seed or int(seed[1]) > _MAX_SEED:
            self.send_error(HTTPStatus.BAD_REQUEST, f"seed must be from 0 to {_MAX_SEED}")
        elif (drawing := self._drawing()) is not None:
            self._translate(drawing, int(seed[1]))

    def _checked_path(self) -> str | None:
        """Returns the path below the token; refuses requests that do not come from our page, and returns None."""
        hosts, origins = self.headers.get_all("Host", []), self.headers.get_all("Origin", [])
        token, slash, path = self.path.removeprefix("/").partition("/")
        if len(hosts) != 1 or not self.server.knows(hosts[0]):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "Host is not this server")
        elif any(origin != f"http://{hosts[0]}" for origin in origins):
            self.send_error(HTTPStatus.FORBIDDEN, "Origin is not this server's page")
        elif not hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()) or not slash:
            self.send_error(HTTPStatus.NOT_FOUND, "open the whole address that pix2pix demo has printed")
        else:
            return path
        return None

    def _drawing(self) -> bytes | None:
        """Reads the body, which must be exactly a drawing; refuses others, and returns None."""
        size, lengths = self.server.num_bytes, self.headers.get_all("Content-Length", [])
        if self.headers.get("Content-Type") != "application/octet-stream":  # no form of a strange page can say so
            self.send_error(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "must be application/octet-stream")
        elif "Transfer-Encoding" in self.headers or len(lengths) != 1:
            self.send_error(HTTPStatus.LENGTH_REQUIRED, "needs a Content-Length")
        elif not re.fullmatch("[0-9]{1,15}", lengths[0]):
            self.send_error(HTTPStatus.BAD_REQUEST, "Content-Length is no number")
        elif int(lengths[0]) > size:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a drawing has {size} bytes")
        elif int(lengths[0]) < size or len(body := self.rfile.read(size)) < size:
            self.send_error(HTTPStatus.BAD_REQUEST, f"a drawing has {size} bytes")
        else:
            self._has_read = True
            return body
        return None

    def _translate(self, drawing: bytes, seed: int) -> None:
        self._deadline.cancel()  # the rest is our own time
        try:
            translated = self.server.newest.run(lambda: self.server.translate(drawing, seed))
        except SupersededError:
            self.send_error(HTTPStatus.CONFLICT, "a newer drawing has come")
        except Exception as error:  # such as memory that does not suffice: the page shows it, and the server goes on
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, " ".join(str(error).split())[:200])
        else:
            self._answer(translated, "application/octet-stream")

    def _answer(self, content: bytes, content_type: str, code: int = HTTPStatus.OK) -> None:
        self.send_response(code)
        for name, value in (_HEADERS | {"Content-Type": content_type, "Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answers in a line of text. What the base class takes for its own lack is the request's fault here."""
        code = {HTTPStatus.NOT_IMPLEMENTED: 405, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: 400}.get(code, code)
        self.close_connection = True
        text = message or HTTPStatus(code).phrase
        self._answer(f"{text.encode('ascii', 'backslashreplace').decode()}\n".encode(), "text/plain", code)

    def log_message(self, format: str, *arguments) -> None:
        """Says nothing; a line for each stroke would help no one."""

    def _give_up(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RD)

    def _linger(self) -> None:
        """Reads for a moment what is left of a refused request; closed at once, the connection would be reset."""
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            timer = threading.Timer(_LINGER, self._give_up)
            timer.daemon = True
            timer.start()
            while self.connection.recv(65536):
                pass
            timer.cancel()


def _resolve(host: str) -> tuple[socket.AddressFamily, str]:
    """Returns the family and the numeric address of a host of this machine. Raises UserError if there is none."""
    try:
        family, *_, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family) as probe:
            probe.bind((address[0], 0))
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"--host={host}: not an address of this machine ({reason}); leave it out, or use 0.0.0.0"
        ) from None
    return family, str(address[0])


def _is_address(name: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return False
