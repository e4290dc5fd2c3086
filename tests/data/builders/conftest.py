"""Sets cut down to a few images that Pillow draws, in folders, in archives and on a server that can misbehave."""

import contextlib
import dataclasses
import http.server
import io
import os
import pathlib
import subprocess
import sys
import tarfile
import threading
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from pix2pix_jax.data.builders import pix2pix
from pix2pix_jax.io import download

ROOT = pathlib.Path(__file__).parents[3]
COUNTS = {"train": 4, "val": 2, "test": 3}
NOWHERE = "http://127.0.0.1:9/facades.tar.gz"  # the discard port: refuses at once


def draw_jpeg(seed: int) -> bytes:
    """A side-by-side pair: smooth noise on the left, flat rectangles on the right."""
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    pair = Image.new("RGB", (96, 48), (0, 0, 223))
    pair.paste(noise.resize((48, 48), Image.Resampling.BICUBIC), (0, 0))
    pair.paste((0, 128, 255), (60, 10, 80, 30))
    file = io.BytesIO()
    pair.save(file, "JPEG", quality=90)
    return file.getvalue()


def make_member(name: str, data: bytes = b"", **fields) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


@pytest.fixture(autouse=True)
def config(monkeypatch):
    """The facades config, cut down to a few images and kept off the network."""
    config = pix2pix.Builder.builder_configs["facades"]
    monkeypatch.setattr(config, "num_examples", COUNTS)
    monkeypatch.setattr(config, "url", NOWHERE)
    return config


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    """Another attempt at a download comes at once, and a stalled one ends soon."""
    monkeypatch.setattr(download, "_WAITS", (0, 0))
    monkeypatch.setattr(download, "_TIMEOUT", 0.5)


@pytest.fixture(scope="session")
def jpeg():
    """Draws a pair: jpeg(seed) -> bytes."""
    return draw_jpeg


@pytest.fixture(scope="session")
def member():
    """Makes what `write_archive` adds: member(name, data, **fields of its TarInfo)."""
    return make_member


@pytest.fixture(scope="session")
def images():
    """{"train/1": bytes, ...} for all that COUNTS asks for."""
    names = [f"{split}/{i + 1}" for split, count in COUNTS.items() for i in range(count)]
    return {name: draw_jpeg(seed) for seed, name in enumerate(names)}


@pytest.fixture
def folder(tmp_path, images):
    root = tmp_path / "given" / "facades"
    for name, data in images.items():
        file = root / f"{name}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return root


@pytest.fixture(scope="session")
def write_archive(images):
    """Writes the published layout, with whatever else is asked for in front: write_archive(path, *members)."""

    def write(path, *extra, mode="w:gz", names=tuple(images)):
        path.parent.mkdir(parents=True, exist_ok=True)
        published = [make_member(f"facades/{name}.jpg", images[name]) for name in names]
        with tarfile.open(path, mode) as tar:
            for info, data in [*extra, make_member("facades/train", type=tarfile.DIRTYPE), *published]:
                tar.addfile(info, io.BytesIO(data))
        return path

    return write


@pytest.fixture
def archive(tmp_path, write_archive):
    return write_archive(tmp_path / "given" / "facades.tar.gz")


@pytest.fixture(scope="session")
def stored():
    """{"train/1": the bytes TFDS keeps, ...} of a builder."""

    def read(builder: tfds.core.DatasetBuilder) -> dict[str, bytes]:
        sources = builder.as_data_source(decoders={"image": tfds.decode.SkipDecoding()})
        return {
            f"{split}/{example['name'].decode()}": example["image"]
            for split, source in sources.items()
            for example in source
        }

    return read


@pytest.fixture(scope="session")
def left_over():
    """What is under the set's folder of a data_dir."""
    return lambda data_dir: sorted(path.name for path in data_dir.glob("pix2pix/facades/*"))


@pytest.fixture(scope="session")
def start_python():
    """Starts a Python process that finds this package (or does not): start_python(*arguments)."""

    def start(*arguments, package=ROOT, **options) -> subprocess.Popen:
        path = os.pathsep.join([str(package), *([os.environ.get("PYTHONPATH", "")] if package else [])])
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    return start


@pytest.fixture(scope="session")
def run_python(start_python):
    """Runs one to its end: run_python(*arguments) -> a process with `stdout` and `stderr` as text."""

    def run(*arguments, cwd=ROOT, package=ROOT) -> subprocess.CompletedProcess:
        with start_python(*arguments, cwd=cwd, package=package) as process:
            out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


@dataclasses.dataclass
class Site:
    """An HTTP server of one file that misbehaves as its fields say, for as many requests as `faults`."""

    body: bytes
    address: str = ""
    validators: dict[str, str] = dataclasses.field(default_factory=lambda: {"ETag": '"1"'})
    ranges: bool = True  # whether it answers Range with a part
    status: int = 200
    announced: int | None = None  # a Content-Length that is not the body's
    cut: int | None = None  # how many bytes of the body it sends
    stall: float = 0  # seconds in which it then sends nothing, with the connection open
    faults: int = 10**6
    requests: list[dict[str, str]] = dataclasses.field(default_factory=list)
    sent: list[tuple[int, int]] = dataclasses.field(default_factory=list)  # (status, bytes) of each answer

    @property
    def url(self) -> str:
        return f"{self.address}/facades.tar.gz"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        site: Site = self.server.site
        site.requests.append(dict(self.headers))
        faulty = len(site.requests) <= site.faults
        if faulty and site.status != 200:
            self.send_error(site.status)
            return
        first = self._first(site)
        if first >= len(site.body):
            self._answer(site, 416, b"", {"Content-Range": f"bytes */{len(site.body)}"})
            return
        body = site.body[first:]
        length = site.announced if faulty and site.announced else len(body)
        part = {"Content-Range": f"bytes {first}-{len(site.body) - 1}/{len(site.body)}"} if first else {}
        self._answer(site, 206 if first else 200, body[: site.cut] if faulty else body, part, length)
        if faulty and site.stall:
            time.sleep(site.stall)

    def _first(self, site: Site) -> int:
        asked = self.headers.get("Range")
        if not asked or not site.ranges or self.headers.get("If-Range") not in site.validators.values():
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def _answer(self, site: Site, status: int, body: bytes, headers: dict, length: int = 0):
        self.send_response(status)
        for name, value in {**headers, **site.validators, "Content-Length": length}.items():
            self.send_header(name, str(value))
        site.sent.append((status, len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)
            self.wfile.flush()

    def log_message(self, *args):
        pass


@pytest.fixture
def serve():
    """Serves bytes: serve(body, **fields of Site) -> Site."""
    with contextlib.ExitStack() as stack:

        def start(body: bytes, **fields) -> Site:
            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            server.daemon_threads, server.block_on_close = True, False
            server.site = Site(body, address=f"http://127.0.0.1:{server.server_port}", **fields)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server.site

        yield start
