"""Downloads from servers that behave and that do not, and builds from other addresses."""

import pathlib
import shutil
import signal
import socket
import tarfile
import threading

import numpy as np
import pytest

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.configuration import build_data
from pix2pix_jax.data.builders.prepare import prepare
from pix2pix_jax.errors import UserError
from pix2pix_jax.io import download

BODY = np.random.default_rng(0).bytes(3 * 2**20)
HALF = len(BODY) // 2


@pytest.fixture
def target(tmp_path):
    return tmp_path / "downloads" / "facades.tar.gz"


def fetch(site, target):
    download.fetch(site.url, target, remedy="do without")


def refusal(site, target) -> str:
    with pytest.raises(UserError) as caught:
        fetch(site, target)
    message = str(caught.value)
    assert message.startswith(f"{site.url}: cannot be downloaded (") and message.endswith("; do without")
    assert "\n" not in message and not target.exists()
    return message


def test_a_file_arrives_whole_and_is_not_fetched_again(serve, target, capsys):
    site = serve(BODY)
    fetch(site, target)
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert len(site.requests) == 1
    assert not list(target.parent.glob("*.part*"))
    assert "facades.tar.gz: 100 %, " in capsys.readouterr().err


# What breaks


@pytest.mark.parametrize("fault", [{}, {"stall": 5}], ids=["closed", "stalled"])
def test_a_broken_connection_goes_on_where_it_was(serve, target, fault, capsys):
    site = serve(BODY, cut=HALF, faults=1, **fault)
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert site.sent == [(200, HALF), (206, len(BODY) - HALF)]
    assert site.requests[1]["If-Range"] == '"1"'
    assert "trying again" in capsys.readouterr().err


def test_a_date_tells_the_version_where_there_is_no_tag(serve, target):
    date = "Sun, 02 Sep 2018 08:58:00 GMT"
    site = serve(BODY, cut=HALF, faults=1, validators={"Last-Modified": date})
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert site.requests[1]["If-Range"] == date
    assert site.sent == [(200, HALF), (206, len(BODY) - HALF)]


@pytest.mark.parametrize("announced", [-1, "many"])
def test_a_length_that_is_none(serve, target, announced):
    fetch(serve(BODY, announced=announced), target)
    assert target.read_bytes() == BODY


def test_progress_is_not_given_up(serve, target):
    site = serve(BODY, cut=2**20 // 2)  # each answer breaks, and two of them together make progress
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert [status for status, _ in site.sent] == [200] + [206] * 5


@pytest.mark.parametrize("fault", [{"ranges": False}, {"validators": {}}, {"validators": {"ETag": 'W/"1"'}}], ids=str)
def test_a_server_without_parts_begins_again(serve, target, fault):
    site = serve(BODY, cut=HALF, faults=1, **fault)
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert site.sent == [(200, HALF), (200, len(BODY))]


def test_a_server_without_parts_that_always_breaks_is_given_up(serve, target):
    site = serve(BODY, cut=HALF, ranges=False)
    assert f"the connection broke after {HALF:,} of {len(BODY):,} bytes" in refusal(site, target)
    assert len(site.requests) == 3  # though each one brought half of it


def test_a_file_that_changed_meanwhile_begins_again(serve, target):
    site = serve(BODY, cut=HALF)
    refusal(serve(BODY[::-1], cut=HALF, ranges=False, validators={"ETag": '"0"'}), target)
    site.cut = None
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert site.requests[0]["If-Range"] == '"0"'
    assert site.sent == [(200, len(BODY))]


def test_the_next_call_goes_on(serve, target):
    site = serve(BODY, cut=1000, faults=3)
    assert "the first 3,000 bytes are kept" in refusal(site, target)
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert site.sent[3:] == [(206, len(BODY) - 3000)]


def test_all_was_there_but_the_name(serve, target):
    target.parent.mkdir()
    target.with_name(f"{target.name}.part").write_bytes(BODY)
    target.with_name(f"{target.name}.part.version").write_text('"1"')
    site = serve(BODY)
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert site.sent == [(416, 0)]


def test_more_than_all_begins_again(serve, target):
    target.parent.mkdir()
    target.with_name(f"{target.name}.part").write_bytes(BODY + b"x")
    target.with_name(f"{target.name}.part.version").write_text('"1"')
    fetch(serve(BODY), target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("status, attempts", [(404, 1), (403, 1), (500, 3), (503, 3), (429, 3)])
def test_errors_that_stay(serve, target, status, attempts):
    site = serve(BODY, status=status)
    assert f"HTTP Error {status}" in refusal(site, target)
    assert len(site.requests) == attempts


def test_an_error_that_passes(serve, target):
    site = serve(BODY, status=503, faults=1)
    fetch(site, target)
    assert target.read_bytes() == BODY


def test_a_server_that_says_nothing(target):
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UserError, match="timed out"):
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/facades.tar.gz"
        download.fetch(address, target, remedy="do without")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/a.tar.gz",
        "http://no-such-host.invalid/a.tar.gz",
        "http://a b/a.tar.gz",
        "http:///a.tar.gz",
        "http://127.0.0.1:nine/a.tar.gz",
        "ftp://127.0.0.1/a.tar.gz",
        "http://127.0.0.1:9/\n",
        "http://ä..ö/a.tar.gz",
    ],
)
def test_what_cannot_be_reached_fails_at_once(target, monkeypatch, url):
    monkeypatch.setattr(download.time, "sleep", lambda seconds: pytest.fail("tried again"))
    with pytest.raises(UserError, match="cannot be downloaded"):
        download.fetch(url, target, remedy="do without")


def test_two_at_once_download_once(serve, target):
    site = serve(BODY, cut=HALF, faults=1, stall=0.3)
    threads = [threading.Thread(target=fetch, args=(site, target)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() == BODY
    assert len(site.requests) == 2


def test_a_killed_download_goes_on_in_the_next_run(serve, target, start_python):
    site = serve(BODY, cut=HALF, faults=1, stall=60)
    code = "import pathlib, sys; from pix2pix_jax.io import download; print(flush=True); "
    code += "download.fetch(sys.argv[1], pathlib.Path(sys.argv[2]), remedy='')"
    part = target.with_name(f"{target.name}.part")
    with start_python("-c", code, site.url, target) as process:
        process.stdout.readline()
        wait_for(lambda: part.exists() and part.stat().st_size == HALF)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert site.sent[1] == (206, len(BODY) - HALF)


def wait_for(condition):
    event = threading.Event()
    for _ in range(200):
        if condition():
            return
        event.wait(0.05)
    pytest.fail("nothing came")


# Builds


def test_a_download_is_built_once(archive, tmp_path, monkeypatch, config, serve, images, stored):
    site = serve(archive.read_bytes())
    monkeypatch.setattr(config, "url", site.url)
    for _ in range(2):
        assert stored(prepare("facades", data_dir=tmp_path / "tfds")) == images
    shutil.rmtree(tmp_path / "tfds" / "pix2pix")  # as after a build that was killed
    assert stored(prepare("facades", data_dir=tmp_path / "tfds")) == images
    assert len(site.requests) == 1
    assert (tmp_path / "tfds" / "downloads" / "pix2pix" / "facades.tar.gz").exists()


def test_a_refusal_says_where_to_place_the_archive(archive, tmp_path, monkeypatch, config, serve, images, stored):
    data_dir = tmp_path / "tfds"
    place = data_dir / "downloads" / "manual" / "facades.tar.gz"
    site = serve(b"", status=404)
    monkeypatch.setattr(config, "url", site.url)
    with pytest.raises(UserError, match="HTTP Error 404: Not Found") as caught:
        prepare("facades", data_dir=data_dir)
    assert str(caught.value).startswith(f"{site.url}: ") and str(place) in str(caught.value)
    place.parent.mkdir(parents=True)
    shutil.copy(archive, place)
    assert stored(prepare("facades", data_dir=data_dir)) == images


def test_a_bad_archive_is_not_kept(archive, tmp_path, monkeypatch, config, serve, images, stored, left_over):
    data_dir = tmp_path / "tfds"
    site = serve(b"<html>please log in</html>")
    monkeypatch.setattr(config, "url", site.url)
    with pytest.raises(UserError, match="cannot be read to its end"):
        prepare("facades", data_dir=data_dir)
    assert left_over(data_dir) == []
    assert not list(data_dir.glob("downloads/pix2pix/*.gz"))
    site.body = archive.read_bytes()
    assert stored(prepare("facades", data_dir=data_dir)) == images


@pytest.mark.heavy
def test_the_published_facades_come_over_a_bad_connection(tmp_path, monkeypatch, config, serve, facades, stored):
    monkeypatch.setattr(config, "num_examples", {"train": 400, "val": 100, "test": 106})
    packed = tmp_path / "packed.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(facades, "facades")
    site = serve(packed.read_bytes(), cut=5 * 2**20)
    monkeypatch.setattr(config, "url", site.url)
    published = {f"{f.parent.name}/{f.stem}": f.read_bytes() for f in facades.glob("*/*.jpg")}
    assert stored(prepare("facades", data_dir=tmp_path / "tfds")) == published
    assert sum(sent for _, sent in site.sent) == len(site.body)


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_another_address(archive, tmp_path, serve, images, scheme):
    url = serve(archive.read_bytes()).url if scheme == "http" else archive.as_uri()
    config = config_lib.load("facades", [f"--config.data_dir={tmp_path / 'tfds'}", f"--config.data_url={url}"])
    assert len(build_data.open_pairs(config, "train")) == 4
    assert archive.exists()


def test_an_address_of_no_file(tmp_path):
    url = (tmp_path / "no such.tar.gz").as_uri()
    with pytest.raises(UserError, match="no such.tar.gz: no facades there"):
        prepare("facades", data_dir=tmp_path, url=url)


@pytest.mark.parametrize("url", ["ftp://host/a.tar.gz", "facades.tar.gz"])
def test_an_address_of_another_kind(url):
    with pytest.raises(UserError, match=f"config.data_url: '{url}'; must begin with http://, https:// or file://"):
        config_lib.load("facades", [f"--config.data_url={url}"])


def test_a_full_disk_is_no_broken_connection(tmp_path, monkeypatch, config, serve):
    def write(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(config, "url", serve(BODY).url)
    monkeypatch.setattr(pathlib.Path, "write_bytes", write)
    with pytest.raises(UserError, match="cannot be built .*No space left on device.*; make room"):
        prepare("facades", data_dir=tmp_path)
