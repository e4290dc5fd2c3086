"""Weights: where they are found, and files that are not what they should be."""

import dataclasses
import functools
import http.server
import pathlib
import shutil

import numpy as np
import pytest
from golden import drawn_inception, drawn_lpips
from serving import serving

from pix2pix_jax.errors import UserError
from pix2pix_jax.io import download, pth
from pix2pix_jax.metrics import weights
from pix2pix_jax.metrics.weights import INCEPTION, LPIPS


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Without weights of the machine's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for network in (INCEPTION, LPIPS):
        monkeypatch.delenv(network.variable, raising=False)
    return tmp_path


def save(path: pathlib.Path, arrays) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def test_the_flag_comes_before_the_environment_and_that_before_downloads(home, monkeypatch):
    assert weights.find(LPIPS) is None
    downloaded = save(home / "cache" / "pix2pix_jax" / "metrics" / "lpips.npz", drawn_lpips())
    assert weights.find(LPIPS) == downloaded
    assert weights.find(INCEPTION) is None
    there, given = save(home / "there.npz", drawn_lpips()), save(home / "given.npz", drawn_lpips())
    monkeypatch.setenv("PIX2PIX_LPIPS", str(there))
    assert weights.find(LPIPS) == there
    assert weights.find(LPIPS, str(given)) == given
    with pytest.raises(UserError, match="--lpips=nowhere.npz: no such file"):
        weights.find(LPIPS, "nowhere.npz")


@pytest.mark.parametrize(("network", "arrays"), [(INCEPTION, drawn_inception()), (LPIPS, drawn_lpips())])
def test_other_numbers_are_told_from_the_published_ones(home, network, arrays):
    read = weights.read(network, save(home / "mine.npz", arrays))
    assert not read.is_published
    arrays = {**arrays, "more": np.zeros(3, np.float32)}  # as the classifier in pytorch-fid's file
    assert weights.read(network, save(home / "more.npz", arrays)).digest == read.digest
    first = next(iter(arrays))
    changed = {**arrays, first: np.nextafter(arrays[first], 9, dtype=np.float32)}
    assert weights.read(network, save(home / "changed.npz", changed)).digest != read.digest


def test_files_of_pytorch(home):
    path = home / "inception.pth"
    arrays = drawn_inception()
    pth.write(path, arrays)
    assert weights.read(INCEPTION, path).digest == weights.read(INCEPTION, save(home / "same.npz", arrays)).digest


def wrong_files(home):
    arrays = drawn_lpips()
    yield save(home / "other.npz", drawn_inception()), "not the weights of lpips: lacks conv0.bias and 14 more of 15"
    yield (
        save(home / "shape.npz", {**arrays, "lin0.weight": np.zeros(63, np.float32)}),
        r"lin0.weight is float32 \(63,\)",
    )
    yield save(home / "nan.npz", {**arrays, "lin0.weight": np.full(64, np.nan, np.float32)}), "lin0.weight holds NaN"
    pickled = home / "pickled.npz"
    np.savez(pickled, **{**arrays, "lin0.weight": np.array([{}], object)})
    yield pickled, "cannot be read as .npz"
    cut = home / "cut.npz"
    cut.write_bytes((home / "nan.npz").read_bytes()[:-1000])
    yield cut, "cannot be read as .npz"
    text = home / "text.npz"
    text.write_text("<html>")
    yield text, "cannot be read as .npz"
    page = home / "page.pth"
    page.write_text("<html>")
    yield page, "not a file of PyTorch weights"


def test_wrong_files_are_named(home):
    for path, message in wrong_files(home):
        with pytest.raises(UserError, match=message) as raised:
            weights.read(LPIPS, path)
        assert str(path) in str(raised.value) and "\n" not in str(raised.value)


@pytest.fixture
def server(home):
    """Serves the folder `home`/published on this machine; the address of it."""
    folder = home / "published"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as httpd:
        yield f"http://127.0.0.1:{httpd.server_port}", folder


def test_what_is_downloaded_is_checked_and_kept(home, server):
    """LPIPS comes in two files, as its authors give it away."""
    address, folder = server
    arrays = drawn_lpips()
    alexnet, linear = {}, {}
    for i, place in enumerate((0, 3, 6, 8, 10)):
        alexnet[f"features.{place}.weight"] = arrays[f"conv{i}.kernel"].transpose(3, 2, 0, 1).copy()
        alexnet[f"features.{place}.bias"] = arrays[f"conv{i}.bias"]
        linear[f"lin{i}.model.1.weight"] = arrays[f"lin{i}.weight"].reshape(1, -1, 1, 1)
    pth.write(folder / "alexnet.pth", alexnet)
    pth.write(folder / "alex.pth", linear)
    digest = weights.read(LPIPS, save(home / "same.npz", arrays)).digest
    published = dataclasses.replace(LPIPS, urls=(f"{address}/alexnet.pth", f"{address}/alex.pth"), digest=digest)
    loaded = weights.load(published)
    assert loaded.is_published
    kept = (home / "cache" / "pix2pix_jax" / "metrics").iterdir()
    assert [file.name for file in kept if file.suffix != ".lock"] == ["lpips.npz"]
    shutil.rmtree(folder)
    assert weights.load(published).digest == digest  # not downloaded again
    assert weights.find(published, str(home / "same.npz")) == home / "same.npz"


def test_a_download_of_other_numbers_is_refused_and_not_kept(home, server):
    address, folder = server
    pth.write(folder / "inception.pth", drawn_inception())
    with pytest.raises(UserError, match=r"is not what was published .*--inception=FILE or PIX2PIX_INCEPTION"):
        weights.load(dataclasses.replace(INCEPTION, urls=(f"{address}/inception.pth",)))
    assert weights.find(INCEPTION) is None


def test_without_network_the_error_says_what_to_do(home, monkeypatch):
    monkeypatch.setattr(download, "_WAITS", ())
    with pytest.raises(UserError, match=r"cannot be downloaded .*name it by --inception=FILE or PIX2PIX_INCEPTION"):
        weights.load(dataclasses.replace(INCEPTION, urls=("http://127.0.0.1:9/inception.pth",)))
