"""The server, over real connections: the page, drawings, and requests that a page would never send."""

import http.client
import json
import socket
import threading
import time

import numpy as np
import pytest
from serving import serving

from pix2pix_jax import cli
from pix2pix_jax.demo import serve
from pix2pix_jax.demo import server as server_lib

SIZE = 32 * 32 * 3


def ask(page, method, path, body=None, **headers):
    """Sends a request below the token; an empty name of a header leaves it out. Returns (status, content)."""
    connection = http.client.HTTPConnection("127.0.0.1", page.server_port, timeout=20)
    connection.request(method, f"/{page.token}/{path}", body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def send(page, content: bytes) -> bytes:
    """Sends bytes as they are; returns the whole answer."""
    with socket.create_connection(("127.0.0.1", page.server_port), timeout=20) as connection:
        connection.sendall(content)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def drawing(page, pixels, seed=0, **headers):
    headers = {"Content-Type": "application/octet-stream", **headers}
    return ask(page, "POST", f"translate?seed={seed}", np.asarray(pixels, np.uint8).tobytes(), **headers)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def assert_works(page, pixels):
    status, content = drawing(page, pixels)
    assert (status, len(content)) == (200, SIZE)


def test_the_page_has_all_that_it_names(page):
    status, html = ask(page, "GET", "")
    assert status == 200 and b"page.js" in html
    settings = json.loads(ask(page, "GET", "page.json")[1])
    assert (settings["width"], settings["height"], settings["channels"]) == (32, 32, 3)
    assert settings["brushes"]["kind"] == "labels"
    assert dict(settings["brushes"]["colours"])["window"] == [0, 128, 255]
    assert len(settings["examples"]) == 12
    for path in ("page.js", "grid.js", "tools.js", "pictures.js", "style.css", "icon.svg", *settings["examples"]):
        assert ask(page, "GET", path)[0] == 200, path
    assert ask(page, "HEAD", "page.js") == (200, b"")


def test_a_drawing_is_translated_as_the_model_does(page, model, pixels):
    status, content = drawing(page, pixels, seed=3)
    assert status == 200
    expected = model.translate_resized(pixels[None], seed=3, ids=np.zeros(1, np.uint32))[0]
    served = np.frombuffer(content, np.uint8).reshape(32, 32, 3)
    np.testing.assert_allclose(served, (expected + 1) * 127.5, atol=0.51)


def test_nothing_of_the_answers_is_kept_or_framed(page):
    connection = http.client.HTTPConnection("127.0.0.1", page.server_port)
    connection.request("GET", f"/{page.token}/")
    headers = connection.getresponse().headers
    assert headers["Cache-Control"] == "no-store" and headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("status", "method", "path", "body", "headers"),
    [
        (404, "GET", "nothing", None, {}),
        (404, "GET", "../../etc/passwd", None, {}),
        (404, "GET", "%2e%2e/page.js", None, {}),
        (404, "GET", "examples/99.png", None, {}),
        (421, "GET", "", None, {"Host": "evil.example"}),
        (421, "GET", "", None, {"Host": "127.0.0.1.evil.example:80"}),
        (421, "GET", "", None, {"Host": "a@127.0.0.1"}),
        (421, "GET", "", None, {"Host": ""}),
        (403, "GET", "", None, {"Origin": "http://evil.example"}),
        (403, "POST", "translate?seed=0", bytes(SIZE), {"Origin": "null"}),
        (403, "POST", "translate?seed=0", bytes(SIZE), {"Origin": "https://127.0.0.1"}),
        (405, "OPTIONS", "translate?seed=0", None, {"Origin": "http://evil.example"}),
        (405, "DELETE", "page.js", None, {}),
        (405, "PUT", "page.js", b"x", {}),
        (404, "POST", "page.js", bytes(SIZE), {}),
        (400, "POST", "translate", bytes(SIZE), {}),
        (400, "POST", "translate?seed=-1", bytes(SIZE), {}),
        (400, "POST", "translate?seed=2147483648", bytes(SIZE), {}),
        (400, "POST", "translate?seed=0&seed=1", bytes(SIZE), {}),
        (415, "POST", "translate?seed=0", bytes(SIZE), {"Content-Type": "text/plain"}),
        (400, "POST", "translate?seed=0", bytes(SIZE - 1), {}),
        (400, "POST", "translate?seed=0", b"", {}),
        (413, "POST", "translate?seed=0", bytes(SIZE + 1), {}),
        (413, "POST", "translate?seed=0", bytes(16_000_000), {}),
    ],
)
def test_a_hostile_request_is_refused_and_the_server_goes_on(page, pixels, status, method, path, body, headers):
    headers = {"Content-Type": "application/octet-stream", **headers} if method == "POST" else headers
    assert ask(page, method, path, body, **headers)[0] == status
    assert_works(page, pixels)


@pytest.mark.parametrize(
    ("status", "head"),
    [
        (400, "Content-Length: -1"),
        (400, "Content-Length: +5"),
        (400, "Content-Length: 1e3"),
        (400, "Content-Length: "),
        (411, f"Content-Length: {SIZE}\r\nContent-Length: 5"),
        (411, "Transfer-Encoding: chunked"),
        (411, f"Transfer-Encoding: chunked\r\nContent-Length: {SIZE}"),
        (411, "X: y"),
        (431, "\r\n".join(f"X{i}: y" for i in range(300))),
        (431, "X: " + "y" * 100_000),
    ],
    ids=range(10),
)
def test_strange_heads_are_refused(page, pixels, status, head):
    start = f"POST /{page.token}/translate?seed=0 HTTP/1.1\r\nHost: localhost\r\n"
    answer = send(page, f"{start}Content-Type: application/octet-stream\r\n{head}\r\n\r\nabc".encode())
    assert answer.startswith(f"HTTP/1.0 {status} ".encode()), answer[:80]
    assert_works(page, pixels)


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n",  # as https begins
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"a" * 70_000),
        b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /\xff\xfe/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=range(8),
)
def test_what_is_no_request_is_refused(page, pixels, content):
    answer = send(page, content)
    status = answer.split()[1] if answer.startswith(b"HTTP") else b"400"  # to HTTP/0.9 the text alone is answered
    assert status.startswith(b"4"), answer[:80]
    assert_works(page, pixels)


def test_only_the_whole_address_opens_the_page(page):
    for path in ("", "wrong/", f"{page.token[:-1]}/", page.token, f"{page.token}x/", "%00/", "é/"):
        answer = send(page, f"GET /{path} HTTP/1.1\r\nHost: localhost:{page.server_port}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.0 404"), (path, answer[:60])
        assert page.token.encode() not in answer


def test_names_of_this_machine_are_known_at_any_port(page):
    for host in ("localhost", "127.0.0.1:1", "[::1]:9", "LOCALHOST:65535"):
        assert ask(page, "GET", "page.json", Host=host)[0] == 200, host
    for host in ("10.0.0.1", "[::2]", "localhost.", "localhost:x", "localhost, evil.example", "[localhost", "::1"):
        assert not page.knows(host), host


def test_a_drawing_that_drips_is_given_up(page, pixels, monkeypatch):
    monkeypatch.setattr(server_lib, "_PATIENCE", 0.3)
    head = f"POST /{page.token}/translate?seed=0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {SIZE}\r\n"
    with socket.create_connection(("127.0.0.1", page.server_port), timeout=10) as connection:
        connection.sendall(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode())
        began = time.monotonic()
        stop = threading.Event()

        def drip():
            while not stop.wait(0.05):
                try:
                    connection.sendall(b"a")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        answer = connection.recv(1000)
        stop.set()
        thread.join()
    assert answer.startswith(b"HTTP/1.0 400") and time.monotonic() - began < 5
    assert_works(page, pixels)


@pytest.mark.heavy
def test_silent_connections_do_not_keep_others_out_for_long(page, pixels, monkeypatch):
    monkeypatch.setattr(server_lib, "_PATIENCE", 0.3)
    silent = [socket.create_connection(("127.0.0.1", page.server_port)) for _ in range(40)]
    time.sleep(2)
    assert_works(page, pixels)
    for connection in silent:
        connection.close()


def test_nothing_is_written(page, pixels, trained):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    assert_works(page, pixels)
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def test_an_error_of_the_model_is_said_and_the_server_goes_on():
    def translate(drawing, seed):
        if drawing == b"bad":
            raise MemoryError("no\nroom")
        return drawing

    server = server_lib.Server({}, translate, num_bytes=3)
    post = {"Content-Type": "application/octet-stream"}
    with serving(server):
        assert ask(server, "POST", "translate?seed=0", b"bad", **post) == (500, b"no room\n")
        assert ask(server, "POST", "translate?seed=0", b"abc", **post) == (200, b"abc")


def test_a_port_in_use_gives_the_next_free_one(model, trained, page):
    with serve.make_server(model, trained, host="127.0.0.1", port=page.server_port) as second:
        assert page.server_port < second.server_port < page.server_port + 100


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--port=70000",), ("--port=70000", "65535")),
        (("--host=192.0.2.1",), ("--host=192.0.2.1", "not an address of this machine")),
        (("--host=no.such.host.invalid",), ("--host=no.such.host.invalid",)),
        (("--palette=none.json",), ("--palette=none.json",)),
        (("--palette=cityscapes",), ("--palette=cityscapes", "does not fit")),
    ],
)
def test_mistakes_end_in_a_line(run, trained, flags, words):
    code, _, stderr = run("demo", f"--workdir={trained}", *flags)
    assert code == cli.EXIT_USER_ERROR
    assert all(word in stderr for word in words) and len(stderr.strip().splitlines()) == 1, stderr
