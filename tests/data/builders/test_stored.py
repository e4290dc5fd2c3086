"""What the TFDS builder `pix2pix` stores, by which ways it is read, and what else may be on disk."""

import io
import json
import os
import pathlib
import re
import shutil
import signal

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import dataset_metadata

from pix2pix_jax import cli
from pix2pix_jax.data.builders import pix2pix
from pix2pix_jax.data.builders.prepare import open_split, prepare
from pix2pix_jax.data.sources.datasets import PUBLISHED
from pix2pix_jax.errors import UserError
from pix2pix_jax.io import storage

COUNTS = {"train": 4, "val": 2, "test": 3}

# What is stored


def test_the_files_bytes_are_stored_unchanged(folder, tmp_path, images, stored):
    builder = prepare("facades", data_dir=tmp_path / "tfds", source=folder)
    assert stored(builder) == images
    assert builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD


def test_an_example_decodes_to_the_pair(folder, tmp_path, images):
    builder = prepare("facades", data_dir=tmp_path / "tfds", source=folder)
    example = builder.as_data_source("val")[0]
    published = Image.open(io.BytesIO(images[f"val/{example['name'].decode()}"]))
    np.testing.assert_array_equal(example["image"], np.asarray(published))


def test_the_order_does_not_depend_on_where_the_files_come_from(folder, archive, tmp_path):
    builders = [prepare("facades", data_dir=tmp_path / s.name, source=s) for s in (folder, archive)]
    first, second = ([e["name"] for e in b.as_data_source("train")] for b in builders)
    assert first == second


def test_the_whole_published_set(tmp_path, monkeypatch, config, facades, stored):
    monkeypatch.setattr(config, "num_examples", {"train": 400, "val": 100, "test": 106})
    builder = prepare("facades", data_dir=tmp_path, source=facades)
    published = {f"{f.parent.name}/{f.stem}": f.read_bytes() for f in facades.glob("*/*.jpg")}
    assert len(published) == 606
    assert stored(builder) == published


def test_the_published_sets_are_those_of_the_configs(tmp_path):
    sets = pix2pix.Builder.builder_configs
    assert tuple(sets) == PUBLISHED
    for name, row in sets.items():
        assert re.fullmatch("md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", row.checksum)
        assert tfds.builder(f"pix2pix/{name}", data_dir=tmp_path).builder_config is row
        assert row.checksum_agreed == (name == "maps")
        assert next(iter(row.num_examples)) == "train"  # the largest one first: the others are set aside meanwhile
        assert set(row.unconfirmed) <= set(row.num_examples)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_set_is_built_and_read(tmp_path, monkeypatch, folder, images, stored, name):
    row = pix2pix.Builder.builder_configs[name]
    splits = row.num_examples
    monkeypatch.setattr(row, "num_examples", {split: n for split, n in {**splits, **COUNTS}.items() if split in splits})
    builder = prepare(name, data_dir=tmp_path, source=folder)
    assert stored(builder) == {key: data for key, data in images.items() if key.split("/")[0] in splits}
    if "test" not in splits:
        with pytest.raises(UserError, match=f"{name}: has no split test, only train, val"):
            open_split(name, "test", data_dir=tmp_path)


def test_metadata_is_valid():
    metadata = pix2pix.Builder.get_metadata()
    assert set(metadata.tags) <= set(dataset_metadata.valid_tags())
    assert "isola2017image" in metadata.citation
    assert "train" in metadata.description
    assert all(f"`{name}`" in metadata.description for name in PUBLISHED)
    assert not pix2pix.Builder.url_infos  # digests are in the table of sets


# TFDS' own ways in


def test_another_process_reads_by_tfds_names_without_tensorflow(folder, tmp_path, run_python):
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


def test_another_process_reads_without_this_package(folder, tmp_path, run_python):
    path = prepare("facades", data_dir=tmp_path, source=folder).data_path
    code = f"""
import sys
import tensorflow_datasets as tfds
by_path = tfds.builder_from_directory({str(path)!r})
by_name = tfds.builder("pix2pix/facades", data_dir={str(tmp_path)!r})
for builder in (by_path, by_name):
    source = builder.as_data_source("test")
    print(len(source), source[0]["image"].shape)
assert not {{"tensorflow", "pix2pix_jax"}} & set(sys.modules)
"""
    done = run_python("-c", code, cwd=tmp_path, package="")
    assert done.stdout.split("\n")[:2] == ["3 (48, 96, 3)"] * 2, done.stderr


def test_tfds_data_source_builds_array_record_by_default(archive, tmp_path):
    shutil.copytree(archive.parent, tmp_path / "downloads" / "manual")  # TFDS' default manual_dir
    source = tfds.data_source("pix2pix/facades", split="test", data_dir=tmp_path)
    assert len(source) == COUNTS["test"]


def test_tfds_build_runs_inside_the_folder(archive, tmp_path, run_python):
    # What `tfds build` runs. TFDS 4.9.10's `tfds` itself imports TensorFlow, for a neighbour of build.
    code = """
import sys
from absl import app
from tensorflow_datasets.scripts.cli import build, cli_utils
app.run(lambda args: args.execute(), flags_parser=cli_utils.make_flags_parser(build.Args, ""))
assert "tensorflow" not in sys.modules
"""
    done = run_python(
        *("-c", code, "--config=facades", "--max_examples_per_split=1"),
        *(f"--data_dir={tmp_path / 'tfds'}", f"--manual_dir={archive.parent}"),
        cwd=pathlib.Path(pix2pix.__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("tfds/pix2pix/facades/1.0.0/*.array_record-*"))) == 3


@pytest.mark.parametrize("root", [".", "facades"])
def test_manual_dir_holds_the_folder_or_the_splits(folder, tmp_path, images, stored, root):
    builder = pix2pix.Builder(config="facades", data_dir=tmp_path / "tfds")
    manual = tfds.download.DownloadConfig(manual_dir=folder.parent / root)
    builder.download_and_prepare(download_config=manual)
    assert stored(builder) == images


# What is on disk already

KILLED = """
import time
from pix2pix_jax.data.builders import pix2pix, prepare
from pix2pix_jax.data.builders.pix2pix import originals
read = originals.{kind}.read
def slowly(self, split):
    for item in read(self, split):
        yield item
        if split == "val":
            print("writing", flush=True)
            time.sleep(60)
originals.{kind}.read = slowly
pix2pix.Builder.builder_configs["facades"].num_examples = {counts}
prepare.prepare("facades", data_dir={data_dir!r}, source={source!r})
"""


@pytest.mark.parametrize("kind", ["Folder", "Archive"])
def test_a_killed_build_leaves_no_set_and_runs_again(
    folder, archive, tmp_path, images, stored, left_over, start_python, kind
):
    data_dir, source = tmp_path / "tfds", folder if kind == "Folder" else archive
    code = KILLED.format(kind=kind, counts=COUNTS, data_dir=str(data_dir), source=str(source))
    with start_python("-c", code) as build:
        assert any(line.strip() == "writing" for line in build.stdout)
        build.send_signal(signal.SIGKILL)
        build.communicate()
    assert left_over(data_dir) != []  # it had begun
    assert "1.0.0" not in left_over(data_dir)
    assert not pix2pix.Builder(config="facades", data_dir=data_dir).is_prepared()
    assert stored(prepare("facades", data_dir=data_dir, source=source)) == images


def test_another_process_may_finish_first(folder, tmp_path, monkeypatch, images, stored):
    build = pix2pix.Builder.download_and_prepare

    def lose_the_race(self, **kwargs):
        build(pix2pix.Builder(config="facades", data_dir=tmp_path, source=folder))
        raise OSError("Directory not empty")

    monkeypatch.setattr(pix2pix.Builder, "download_and_prepare", lose_the_race)
    assert stored(prepare("facades", data_dir=tmp_path)) == images


def test_a_folder_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"1\.0\.0: cannot be built .*choose another data_dir"):
        prepare("facades", data_dir=tmp_path / "file", source=folder)


def test_a_prepared_set_is_read_without_writing(folder, tmp_path):
    prepare("facades", data_dir=tmp_path / "tfds", source=folder)

    def state():
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "tfds").rglob("*")}

    first = open_split("facades", "train", data_dir=tmp_path / "tfds")[1]
    before = state()  # with the names, which the first time writes if it can
    assert open_split("facades", "train", data_dir=tmp_path / "tfds")[1] == first
    assert state() == before


@pytest.mark.parametrize("damage", ["none", "cut", "other", "fewer", "no list", "read only"])
def test_kept_names_are_right_or_read_again(folder, tmp_path, monkeypatch, damage):
    path = prepare("facades", data_dir=tmp_path, source=folder).data_path / "names-train.json"
    _, names = open_split("facades", "train", data_dir=tmp_path)
    assert json.loads(path.read_text()) == names
    damaged = {"cut": "[", "other": json.dumps(names[::-1]), "fewer": json.dumps(names[1:]), "no list": "1"}
    path.write_text(damaged.get(damage, path.read_text()))
    if damage == "read only":
        path.unlink()
        monkeypatch.setattr(storage, "write", lambda *args: os.mkdir(tmp_path))  # which is there
    examples, again = open_split("facades", "train", data_dir=tmp_path)
    assert again == names == [example["name"].decode() for example in examples]
    assert path.exists() != (damage == "read only")


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


def test_the_builders_package_alone_imports_no_tfds(run_python):
    code = "import sys, pix2pix_jax.data.builders; print('tensorflow_datasets' in sys.modules)"
    assert run_python("-c", code).stdout.split() == ["False"]


# What a folder of data is spared


def test_a_folder_of_other_things_is_refused_and_left_as_it_was(tmp_path, config, serve):
    site = serve(b"")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"")
    for url in ("", site.url):
        with pytest.raises(UserError, match=r"holds neither facades .*nor TFDS data sets.* a new or empty folder"):
            open_split("facades", "train", data_dir=tmp_path, url=url)
    assert [path.name for path in tmp_path.rglob("*")] == ["photos", "1.jpg"] and not site.requests


def test_folders_of_tfds_are_known(archive, tmp_path, images):
    for name in ("downloads/x", "mnist/3.0.1", "cats/small/1.0.0"):
        root = tmp_path / name.split("/")[0]
        (root / name).mkdir(parents=True)
        _, names = open_split("facades", "val", data_dir=root, url=archive.as_uri())
        assert len(names) == 2


def test_a_download_that_fails_leaves_no_folders(tmp_path):
    (tmp_path / "there").mkdir()
    for root in (tmp_path / "there", tmp_path / "new"):
        with pytest.raises(UserError):
            open_split("facades", "train", data_dir=root)
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_a_folder_of_files_says_how_to_build_a_set_and_that_builds_it(folder, tmp_path, capsys, images, stored):
    small = ("--config.image_size=32,32", "--config.resize_size=32,32", f"--output={tmp_path}")
    assert cli.main(["prepare", "--config=facades", f"--config.data_dir={folder}", *small]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "no TFDS data set was built" in line]
    assert str(folder) in line
    flags = line.split("in DIR: ")[1].replace("DIR", str(tmp_path / "tfds"), 1).split()
    assert cli.main(["prepare", "--config=facades", *flags, *small]) == 0
    assert "no TFDS" not in capsys.readouterr().out
    assert stored(prepare("facades", data_dir=tmp_path / "tfds")) == images
