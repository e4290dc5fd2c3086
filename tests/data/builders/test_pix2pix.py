"""The TFDS builder `pix2pix`: from folders, archives and servers, good and bad, to stored bytes."""

import contextlib
import functools
import http.server
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import dataset_metadata

from pix2pix_jax.data.builders import pix2pix
from pix2pix_jax.data.builders.pix2pix import originals
from pix2pix_jax.data.builders.prepare import prepare
from pix2pix_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[3]
COUNTS = {"train": 4, "val": 2, "test": 3}
NOWHERE = "http://127.0.0.1:9/facades.tar.gz"  # the discard port: refuses at once


@pytest.fixture(autouse=True)
def config(monkeypatch):
    """The facades config, cut down to a few images and kept off the network."""
    config = pix2pix.Builder.builder_configs["facades"]
    monkeypatch.setattr(config, "num_examples", COUNTS)
    monkeypatch.setattr(config, "url", NOWHERE)
    return config


def jpeg(seed: int) -> bytes:
    """A side-by-side pair: smooth noise on the left, flat rectangles on the right."""
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    pair = Image.new("RGB", (96, 48), (0, 0, 223))
    pair.paste(noise.resize((48, 48), Image.Resampling.BICUBIC), (0, 0))
    pair.paste((0, 128, 255), (60, 10, 80, 30))
    file = io.BytesIO()
    pair.save(file, "JPEG", quality=90)
    return file.getvalue()


@functools.cache
def images() -> dict[str, bytes]:
    """{"train/1": bytes, ...} for all that COUNTS asks for."""
    names = [f"{split}/{i + 1}" for split, count in COUNTS.items() for i in range(count)]
    return {name: jpeg(seed) for seed, name in enumerate(names)}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "given" / "facades"
    for name, data in images().items():
        file = root / f"{name}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return root


def member(name: str, data: bytes = b"", **fields) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def write_archive(path: pathlib.Path, *extra, mode="w:gz") -> pathlib.Path:
    """The published layout, with whatever else is asked for in front."""
    path.parent.mkdir(parents=True, exist_ok=True)
    published = [member(f"facades/{name}.jpg", data) for name, data in images().items()]
    with tarfile.open(path, mode) as tar:
        for info, data in [*extra, member("facades/train", type=tarfile.DIRTYPE), *published]:
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def archive(tmp_path):
    return write_archive(tmp_path / "given" / "facades.tar.gz")


@contextlib.contextmanager
def serve(responses: dict[str, tuple[int, bytes]]):
    """An HTTP server: path -> (announced length, bytes sent). Yields (address, requests made)."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            if self.path not in responses:
                self.send_error(404)
                return
            length, body = responses[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()
            thread.join()


def stored(builder: tfds.core.DatasetBuilder) -> dict[str, bytes]:
    """{"train/1": the bytes TFDS keeps, ...}."""
    sources = builder.as_data_source(decoders={"image": tfds.decode.SkipDecoding()})
    return {
        f"{split}/{example['name'].decode()}": example["image"]
        for split, source in sources.items()
        for example in source
    }


def run_python(*arguments, cwd=ROOT) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def left_over(data_dir: pathlib.Path) -> list[str]:
    """What is under the set's folder."""
    return sorted(path.name for path in data_dir.glob("pix2pix/facades/*"))


# What is stored


def test_the_files_bytes_are_stored_unchanged(folder, tmp_path):
    builder = prepare("facades", data_dir=tmp_path / "tfds", source=folder)
    assert stored(builder) == images()
    assert builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD


def test_an_example_decodes_to_the_pair(folder, tmp_path):
    builder = prepare("facades", data_dir=tmp_path / "tfds", source=folder)
    example = builder.as_data_source("val")[0]
    published = Image.open(io.BytesIO(images()[f"val/{example['name'].decode()}"]))
    np.testing.assert_array_equal(example["image"], np.asarray(published))


def test_the_order_does_not_depend_on_where_the_files_come_from(folder, archive, tmp_path):
    builders = [prepare("facades", data_dir=tmp_path / s.name, source=s) for s in (folder, archive)]
    first, second = ([e["name"] for e in b.as_data_source("train")] for b in builders)
    assert first == second


def test_the_whole_published_set(tmp_path, monkeypatch, config, facades):
    monkeypatch.setattr(config, "num_examples", {"train": 400, "val": 100, "test": 106})
    builder = prepare("facades", data_dir=tmp_path, source=facades)
    published = {f"{f.parent.name}/{f.stem}": f.read_bytes() for f in facades.glob("*/*.jpg")}
    assert len(published) == 606
    assert stored(builder) == published


def test_metadata_is_valid():
    metadata = pix2pix.Builder.get_metadata()
    assert set(metadata.tags) <= set(dataset_metadata.valid_tags())
    assert "isola2017image" in metadata.citation
    assert "train" in metadata.description
    assert not pix2pix.Builder.url_infos  # one source gives the facades' digest


# TFDS' own ways in


def test_another_process_reads_by_tfds_names_without_tensorflow(folder, tmp_path):
    prepare("facades", data_dir=tmp_path, source=folder)
    code = f"""
import sys
import tensorflow_datasets as tfds
import pix2pix_jax.data.builders.pix2pix
root = {str(tmp_path)!r}
builder = tfds.builder("pix2pix/facades", data_dir=root, file_format="array_record")
assert builder.is_prepared()
source = tfds.data_source("pix2pix/facades", split="train", data_dir=root, download=False)
print(len(source), *sorted(example["name"].decode() for example in source))
assert "tensorflow" not in sys.modules
"""
    done = run_python("-c", code)
    assert done.stdout.split() == ["4", "1", "2", "3", "4"], done.stderr


def test_tfds_data_source_builds_array_record_by_default(archive, tmp_path):
    shutil.copytree(archive.parent, tmp_path / "downloads" / "manual")  # TFDS' default manual_dir
    source = tfds.data_source("pix2pix/facades", split="test", data_dir=tmp_path)
    assert len(source) == COUNTS["test"]


def test_tfds_build_runs_inside_the_folder(folder, tmp_path):
    # What `tfds build` runs. TFDS 4.9.10's `tfds` itself imports TensorFlow, for a neighbour of build.
    code = """
import sys
from absl import app
from tensorflow_datasets.scripts.cli import build, cli_utils
app.run(lambda args: args.execute(), flags_parser=cli_utils.make_flags_parser(build.Args, ""))
assert "tensorflow" not in sys.modules
"""
    done = run_python(
        *("-c", code, "--max_examples_per_split=1"),
        *(f"--data_dir={tmp_path / 'tfds'}", f"--manual_dir={folder.parent}"),
        cwd=pathlib.Path(pix2pix.__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("tfds/pix2pix/facades/1.0.0/*.array_record-*"))) == 3


@pytest.mark.parametrize("root", [".", "facades"])
def test_manual_dir_holds_the_folder_or_the_splits(folder, tmp_path, root):
    builder = pix2pix.Builder(config="facades", data_dir=tmp_path / "tfds")
    manual = tfds.download.DownloadConfig(manual_dir=folder.parent / root)
    builder.download_and_prepare(download_config=manual)
    assert stored(builder) == images()


# Archives


@pytest.mark.parametrize("name, mode", [("facades.tar.gz", "w:gz"), ("mine.tar", "w:")])
def test_an_archive_given_by_hand(tmp_path, name, mode):
    source = write_archive(tmp_path / name, mode=mode)
    assert stored(prepare("facades", data_dir=tmp_path / "tfds", source=source)) == images()


def test_a_folder_that_holds_the_archive(archive, tmp_path):
    builder = prepare("facades", data_dir=tmp_path / "tfds", source=archive.parent)
    assert stored(builder) == images()


def test_hostile_members_are_ignored(tmp_path):
    evil = jpeg(99)
    source = write_archive(
        tmp_path / "facades.tar.gz",
        member("/train/1.jpg", evil),
        member("../../train/2.jpg", evil),
        member("facades/../train/3.jpg", evil),
        member("facades/train/._1.jpg", b"resource fork"),
        member("facades/train/readme.txt", b"text"),
        member("facades/train/deeper/4.jpg", evil),
        member("facades/train/5.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("facades/train/6.jpg", type=tarfile.LNKTYPE, linkname="/train/1.jpg"),
        member("facades/train/7.jpg", type=tarfile.FIFOTYPE),
    )
    before = set(tmp_path.parent.rglob("*"))
    builder = prepare("facades", data_dir=tmp_path / "tfds", source=source)
    assert stored(builder) == images()
    new = set(tmp_path.parent.rglob("*")) - before
    assert all(path.is_relative_to(tmp_path / "tfds") for path in new)


def test_an_oversized_member_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(originals, "MAX_BYTES", 2**16)
    big = member("facades/train/9.jpg", jpeg(0) + bytes(2**16))
    source = write_archive(tmp_path / "facades.tar.gz", big)
    with pytest.raises(UserError, match=r"facades/train/9\.jpg has \d+ bytes, more than"):
        prepare("facades", data_dir=tmp_path / "tfds", source=source)


def test_an_oversized_header_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(originals, "MAX_BYTES", 2**16)
    bomb = member("facades/x", pax_headers={"comment": "x" * 2**18})
    source = write_archive(tmp_path / "facades.tar.gz", bomb)
    with pytest.raises(UserError, match="a header of"):
        prepare("facades", data_dir=tmp_path / "tfds", source=source)


def test_a_name_twice_is_refused(tmp_path):
    source = write_archive(tmp_path / "facades.tar.gz", member("other/train/1.jpg", jpeg(9)))
    with pytest.raises(UserError, match=r"train/1\.jpg is there twice"):
        prepare("facades", data_dir=tmp_path / "tfds", source=source)


@pytest.mark.parametrize("damage", ["cut", "flipped", "garbled", "not an archive", "empty"])
def test_a_damaged_archive_is_refused_and_kept(archive, tmp_path, damage):
    data = bytearray(archive.read_bytes())
    if damage == "cut":
        del data[len(data) // 2 :]
    elif damage == "flipped":
        data[-6] ^= 1  # in gzip's CRC: everything before it reads well
    elif damage == "garbled":
        noise = np.random.default_rng(0).bytes(2**21)  # more than gzip reads ahead
        write_archive(archive, member("facades/train/0.jpg", jpeg(0) + noise))
        data = bytearray(archive.read_bytes())
        data[2**20 : 2**20 + 2**17] = b"\xff" * 2**17
    else:
        data = b"<html>" * 200 if damage == "not an archive" else b""
    archive.write_bytes(data)
    with pytest.raises(UserError, match="cannot be read to its end") as caught:
        prepare("facades", data_dir=tmp_path / "tfds", source=archive)
    assert str(archive) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert archive.exists()
    assert left_over(tmp_path / "tfds") == []


@pytest.mark.parametrize("agreed", [False, True])
def test_a_digest_refuses_only_if_two_sources_agree(archive, tmp_path, monkeypatch, config, capsys, agreed):
    monkeypatch.setattr(config, "checksum_agreed", agreed)
    refused = pytest.raises(UserError, match="md5 .* where the published archive has e2e25dd5")
    with refused if agreed else contextlib.nullcontext():
        prepare("facades", data_dir=tmp_path / "tfds", source=archive)
    assert ("one source alone gives that digest" in capsys.readouterr().err) is not agreed


def test_a_digest_that_holds_is_not_mentioned(archive, tmp_path, monkeypatch, config, capsys):
    monkeypatch.setattr(config, "checksum", f"md5:{originals.digest(archive, 'md5')}")
    prepare("facades", data_dir=tmp_path / "tfds", source=archive)
    assert "md5" not in capsys.readouterr().err


# What is not the published set


@pytest.mark.parametrize("change, found", [("missing", 1), ("extra", 3), ("no folder", 0)])
def test_wrong_counts_name_split_found_and_expected(folder, tmp_path, change, found):
    if change == "missing":
        (folder / "val" / "1.jpg").unlink()
    elif change == "extra":
        (folder / "val" / "3.jpg").write_bytes(jpeg(7))
    else:
        shutil.rmtree(folder / "val")
    data_dir = tmp_path / "tfds"
    message = rf"split val of facades has {found} images where 2 were published"
    with pytest.raises(UserError, match=message):
        prepare("facades", data_dir=data_dir, source=folder.parent)
    assert left_over(data_dir) == []


def test_a_file_that_is_no_jpeg_is_named(folder, tmp_path):
    (folder / "train" / "2.jpg").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(UserError, match=r"train/2\.jpg is not a JPEG file"):
        prepare("facades", data_dir=tmp_path / "tfds", source=folder)


@pytest.mark.parametrize("source", ["empty", "missing", "one_split"])
def test_a_source_without_the_set(tmp_path, source):
    (tmp_path / "empty").mkdir()
    (tmp_path / "one_split" / "train").mkdir(parents=True)
    with pytest.raises(UserError, match=f"{source}: no facades there; give facades.tar.gz, or"):
        prepare("facades", data_dir=tmp_path / "tfds", source=tmp_path / source)


def test_an_unknown_set(tmp_path):
    with pytest.raises(UserError, match="'facade': there is no such published set; use one of fac"):
        prepare("facade", data_dir=tmp_path)


# The network


def publish(archive: pathlib.Path, *, length=None, sent=None) -> dict[str, tuple[int, bytes]]:
    body = archive.read_bytes()[:sent]
    return {"/facades.tar.gz": (length or len(body), body)}


def test_a_download_is_built_once(archive, tmp_path, monkeypatch, config):
    with serve(publish(archive)) as (address, requests):
        monkeypatch.setattr(config, "url", f"{address}/facades.tar.gz")
        assert stored(prepare("facades", data_dir=tmp_path / "tfds")) == images()
        made = len(requests)
        assert stored(prepare("facades", data_dir=tmp_path / "tfds")) == images()
        assert len(requests) == made
    shutil.rmtree(tmp_path / "tfds" / "pix2pix")  # as after a build that was killed
    assert stored(prepare("facades", data_dir=tmp_path / "tfds")) == images()


def test_not_found_says_where_to_place_the_archive(archive, tmp_path, monkeypatch, config):
    data_dir = tmp_path / "tfds"
    place = data_dir / "downloads" / "manual" / "facades.tar.gz"
    with serve({}) as (address, _):
        monkeypatch.setattr(config, "url", f"{address}/facades.tar.gz")
        with pytest.raises(UserError, match="HTTP Error 404: Not Found") as caught:
            prepare("facades", data_dir=data_dir)
    assert str(caught.value).startswith(f"{address}/facades.tar.gz: ")
    assert str(place) in str(caught.value)
    place.parent.mkdir(parents=True)
    shutil.copy(archive, place)
    assert stored(prepare("facades", data_dir=data_dir)) == images()


@pytest.mark.parametrize("url", [NOWHERE, "http://no-such-host.invalid/facades.tar.gz"])
def test_no_network_fails_at_once_in_one_line(tmp_path, monkeypatch, config, url):
    monkeypatch.setattr(config, "url", url)
    with pytest.raises(UserError, match="cannot be downloaded") as caught:
        prepare("facades", data_dir=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("announced", ["what was sent", "the whole"])
def test_a_truncated_download_is_not_kept(archive, tmp_path, monkeypatch, config, announced):
    size = archive.stat().st_size
    cut = publish(archive, sent=size // 2, length=size if announced == "the whole" else None)
    data_dir = tmp_path / "tfds"
    with serve(cut) as (address, _):
        monkeypatch.setattr(config, "url", f"{address}/facades.tar.gz")
        with pytest.raises(UserError, match="cannot be (downloaded|read to its end)"):
            prepare("facades", data_dir=data_dir)
        assert left_over(data_dir) == []
        assert not list(data_dir.glob("downloads/pix2pix/*.tar.gz"))
        cut.update(publish(archive))
        assert stored(prepare("facades", data_dir=data_dir)) == images()


# What is on disk already

KILLED = """
import sys, time
from pix2pix_jax.data.builders import pix2pix, prepare
from pix2pix_jax.data.builders.pix2pix import originals
read = originals.read_split
def slowly(path, split):
    for item in read(path, split):
        yield item
        if split == "val":
            print("writing", flush=True)
            time.sleep(60)
originals.read_split = slowly
pix2pix.Builder.builder_configs["facades"].num_examples = {counts}
prepare.prepare("facades", data_dir={data_dir!r}, source={source!r})
"""


def test_a_killed_build_leaves_no_set_and_runs_again(folder, tmp_path):
    data_dir = tmp_path / "tfds"
    code = KILLED.format(counts=COUNTS, data_dir=str(data_dir), source=str(folder))
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    build = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert any(line.strip() == "writing" for line in build.stdout)
    build.send_signal(signal.SIGKILL)
    build.communicate()
    assert left_over(data_dir) != []  # it had begun
    assert "1.0.0" not in left_over(data_dir)
    assert not pix2pix.Builder(config="facades", data_dir=data_dir).is_prepared()
    assert stored(prepare("facades", data_dir=data_dir, source=folder)) == images()


def test_another_process_may_finish_first(folder, tmp_path, monkeypatch):
    build = pix2pix.Builder.download_and_prepare

    def lose_the_race(self, **kwargs):
        build(pix2pix.Builder(config="facades", data_dir=tmp_path, source=folder))
        raise OSError("Directory not empty")

    monkeypatch.setattr(pix2pix.Builder, "download_and_prepare", lose_the_race)
    assert stored(prepare("facades", data_dir=tmp_path)) == images()


def test_a_folder_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"1\.0\.0: cannot be built .*choose another data_dir"):
        prepare("facades", data_dir=tmp_path / "file", source=folder)


@pytest.mark.parametrize(
    "damage, message",
    [
        ("no info", "holds no prepared dataset"),
        ("tfrecord", "is stored as tfrecord, which takes TensorFlow to read"),
        ("cut short", "has {.*'train': 1.* where {.*'train': 4.* are due"),
    ],
)
def test_a_prepared_folder_that_is_not_right(folder, tmp_path, damage, message):
    path = prepare("facades", data_dir=tmp_path, source=folder).data_path
    info = json.loads((path / "dataset_info.json").read_text())
    if damage == "no info":
        (path / "dataset_info.json").unlink()
    elif damage == "tfrecord":
        (path / "dataset_info.json").write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    else:
        train = next(split for split in info["splits"] if split["name"] == "train")
        train["shardLengths"] = ["1"]
        (path / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match=f"{message}; delete that folder or"):
        prepare("facades", data_dir=tmp_path)


def test_the_builders_package_alone_imports_no_tfds():
    code = "import sys, pix2pix_jax.data.builders; print('tensorflow_datasets' in sys.modules)"
    assert run_python("-c", code).stdout.split() == ["False"]
