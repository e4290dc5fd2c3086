"""Archives and folders given by hand: whole, damaged, hostile, and not the published set."""

import builtins
import contextlib
import gzip
import hashlib
import io
import os
import shutil
import tarfile

import numpy as np
import pytest

from pix2pix_jax.data.builders import pix2pix
from pix2pix_jax.data.builders.pix2pix import originals
from pix2pix_jax.data.builders.prepare import prepare
from pix2pix_jax.errors import UserError


@pytest.mark.parametrize("name, mode", [("facades.tar.gz", "w:gz"), ("mine.tar", "w:")])
def test_an_archive_given_by_hand(tmp_path, write_archive, images, stored, name, mode):
    source = write_archive(tmp_path / name, mode=mode)
    assert stored(prepare("facades", data_dir=tmp_path / "tfds", source=source)) == images


def test_a_folder_that_holds_the_archive(archive, tmp_path, images, stored):
    builder = prepare("facades", data_dir=tmp_path / "tfds", source=archive.parent)
    assert stored(builder) == images


class Counted(io.FileIO):
    """A file that counts what is read of it."""

    num_bytes = 0

    def readinto(self, buffer):
        count = super().readinto(buffer)
        Counted.num_bytes += count
        return count


@pytest.mark.parametrize("order", ["as published", "reversed", "mixed"])
@pytest.mark.parametrize("mode", ["w:gz", "w:"])
def test_a_build_reads_the_archive_once(
    tmp_path, monkeypatch, write_archive, images, stored, left_over, config, capsys, mode, order
):
    names = {
        "as published": list(images),
        "reversed": list(images)[::-1],
        "mixed": sorted(images, key=lambda name: name[::-1]),
    }[order]
    source = write_archive(tmp_path / "facades.tar.gz", mode=mode, names=names)
    monkeypatch.setattr(config, "checksum", f"md5:{hashlib.md5(source.read_bytes()).hexdigest()}")
    opened = builtins.open

    def open_counted(file, mode="r", *args, **kwargs):
        is_it = isinstance(file, (str, os.PathLike)) and os.fspath(file) == str(source)
        return io.BufferedReader(Counted(file)) if is_it else opened(file, mode, *args, **kwargs)

    monkeypatch.setattr(Counted, "num_bytes", 0)
    monkeypatch.setattr(builtins, "open", open_counted)
    monkeypatch.setattr(io, "open", open_counted)
    builder = prepare("facades", data_dir=tmp_path / "tfds", source=source)
    # A buffer's worth is read twice, to tell whether it is compressed.
    assert 0 < Counted.num_bytes <= source.stat().st_size + io.DEFAULT_BUFFER_SIZE
    assert stored(builder) == images
    assert "md5" not in capsys.readouterr().err  # what was read gave the digest
    assert not any(name.startswith("tmp") for name in os.listdir(builder.data_path))
    assert left_over(tmp_path / "tfds") == ["1.0.0"]


# Hostile archives


def test_hostile_members_are_ignored(tmp_path, write_archive, member, jpeg, images, stored):
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
        member("facades/train/8.jpg", type=tarfile.CHRTYPE, devmajor=1, devminor=5),
        member("facades/train/9.jpg", type=tarfile.BLKTYPE, devmajor=8),
        member("facades/train/10.jpg", type=tarfile.DIRTYPE),
        member("facades/evil/11.jpg", evil),
    )
    before = set(tmp_path.parent.rglob("*"))
    builder = prepare("facades", data_dir=tmp_path / "tfds", source=source)
    assert stored(builder) == images
    new = set(tmp_path.parent.rglob("*")) - before
    assert all(path.is_relative_to(tmp_path / "tfds") for path in new)


def refusal(tmp_path, source) -> str:
    """The one line with which a build from `source` ends, which leaves nothing."""
    with pytest.raises(UserError) as caught:
        prepare("facades", data_dir=tmp_path / "tfds", source=source)
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()
    assert not list((tmp_path / "tfds").glob("pix2pix/facades/*"))
    return str(caught.value)


def test_an_oversized_member_is_refused(tmp_path, monkeypatch, write_archive, member, jpeg):
    monkeypatch.setattr(originals, "MAX_BYTES", 2**16)
    source = write_archive(tmp_path / "facades.tar.gz", member("facades/train/9.jpg", jpeg(0) + bytes(2**16)))
    assert "facades/train/9.jpg has" in refusal(tmp_path, source)


def test_a_sparse_member_of_terabytes_is_refused(tmp_path, write_archive, member):
    sparse = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(2**42), "GNU.sparse.map": "0,0"}
    source = write_archive(tmp_path / "facades.tar.gz", member("facades/train/9.jpg", pax_headers=sparse))
    assert f"facades/train/9.jpg has {2**42} bytes, more than" in refusal(tmp_path, source)


def test_an_oversized_header_is_refused(tmp_path, monkeypatch, write_archive, member):
    monkeypatch.setattr(originals, "MAX_BYTES", 2**16)
    bomb = member("facades/x", pax_headers={"comment": "x" * 2**18})
    assert "a header of" in refusal(tmp_path, write_archive(tmp_path / "facades.tar.gz", bomb))


@pytest.mark.parametrize("place", ["a member that is not wanted", "after the end"])
def test_an_archive_that_unpacks_to_much_more_than_its_size_is_refused(archive, tmp_path, monkeypatch, place):
    """It would not fill memory, but take for ever."""
    monkeypatch.setattr(originals, "_UNPACKED", 2**20)
    if place == "after the end":
        archive.write_bytes(gzip.compress(gzip.decompress(archive.read_bytes()) + bytes(2**25)))
    else:
        with tarfile.open(archive, "w:gz") as tar:
            info = tarfile.TarInfo("facades/readme.txt")
            info.size = 2**25
            tar.addfile(info, io.BytesIO(bytes(2**25)))
    assert "unpacks to more than 20 times its size" in refusal(tmp_path, archive)


def test_a_negative_size_ends(tmp_path, member):
    # tarfile would follow it back to the header before, for ever.
    header = bytearray(member("facades/readme.txt")[0].tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (-1024).to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    source = tmp_path / "facades.tar.gz"
    source.write_bytes(gzip.compress(bytes(header) * 2 + bytes(1024)))
    assert "cannot be read to its end" in refusal(tmp_path, source)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_name_twice_is_refused(tmp_path, write_archive, member, jpeg, split):
    source = write_archive(tmp_path / "facades.tar.gz", member(f"other/{split}/1.jpg", jpeg(9)))
    assert f"{split}/1.jpg is there twice" in refusal(tmp_path, source)


@pytest.mark.parametrize(
    "name, shown", [("a\nb", r"a\nb"), ("a\x1b[2J", r"a\x1b[2J"), ("a\udcff", r"a\udcff"), ("a\u202eb", r"a\u202eb")]
)
def test_a_name_that_cannot_be_printed_is_refused(tmp_path, write_archive, member, jpeg, name, shown):
    source = write_archive(tmp_path / "facades.tar.gz", member(f"facades/train/{name}.jpg", jpeg(9)))
    assert f"'facades/train/{shown}.jpg' is not a name that can be used" in refusal(tmp_path, source)


def test_a_name_of_other_letters_is_kept(tmp_path, monkeypatch, config, write_archive, member, jpeg, images, stored):
    monkeypatch.setattr(config, "num_examples", {**config.num_examples, "train": 5})
    source = write_archive(tmp_path / "facades.tar.gz", member("facades/train/Fünf 五.jpg", jpeg(9)))
    builder = prepare("facades", data_dir=tmp_path / "tfds", source=source)
    assert stored(builder) == {**images, "train/Fünf 五": jpeg(9)}


@pytest.mark.parametrize("damage", ["cut", "flipped", "garbled", "not an archive", "empty"])
def test_a_damaged_archive_is_refused_and_kept(archive, tmp_path, write_archive, member, jpeg, damage):
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
    message = refusal(tmp_path, archive)
    assert message.startswith(f"{archive}: the archive cannot be read to its end")
    assert archive.exists()


# What is not the published set


@pytest.mark.parametrize("agreed", [False, True])
def test_a_digest_refuses_only_if_two_sources_agree(archive, tmp_path, monkeypatch, config, capsys, agreed):
    monkeypatch.setattr(config, "checksum_agreed", agreed)
    refused = pytest.raises(UserError, match="md5 .* where the published archive has e2e25dd5.* and 30168306 bytes")
    with refused if agreed else contextlib.nullcontext():
        prepare("facades", data_dir=tmp_path / "tfds", source=archive)
    assert ("one source alone gives that digest" in capsys.readouterr().err) is not agreed


def test_the_digest_of_maps_is_enforced(tmp_path, monkeypatch, write_archive):
    config = pix2pix.Builder.builder_configs["maps"]
    monkeypatch.setattr(config, "num_examples", {"train": 4, "val": 2})
    source = write_archive(tmp_path / "maps.tar.gz")
    with pytest.raises(UserError, match="sha256 .* where the published archive has 7519044b.* and 250242400 bytes"):
        prepare("maps", data_dir=tmp_path / "tfds", source=source)


@pytest.mark.parametrize("change, found", [("missing", 1), ("extra", 3), ("no folder", 0)])
@pytest.mark.parametrize("packed", [False, True])
def test_wrong_counts_name_split_found_and_expected(
    folder, tmp_path, write_archive, member, jpeg, images, change, found, packed
):
    if change == "extra":
        (folder / "val" / "3.jpg").write_bytes(jpeg(7))
    else:
        (folder / "val" / "1.jpg").unlink()
    if change == "no folder":
        shutil.rmtree(folder / "val")
    files = {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*.jpg")}
    members = [member(f"facades/{name}", data) for name, data in files.items()]
    source = write_archive(tmp_path / "a.tar.gz", *members, names=()) if packed else folder.parent
    message = refusal(tmp_path, source)
    assert f"split val of facades has {found} images where 2 were published" in message


@pytest.mark.parametrize("found, refused", [(1, False), (2, False), (3, False), (0, True)])
def test_a_count_that_is_not_confirmed_only_warns(
    folder, tmp_path, monkeypatch, config, capsys, jpeg, stored, found, refused
):
    monkeypatch.setattr(config, "unconfirmed", ("val",))
    for name in ("1", "2"):
        (folder / "val" / f"{name}.jpg").unlink()
    for i in range(found):
        (folder / "val" / f"{i}.jpg").write_bytes(jpeg(i))
    with pytest.raises(UserError) if refused else contextlib.nullcontext():
        builder = prepare("facades", data_dir=tmp_path / "tfds", source=folder)
        assert len([name for name in stored(builder) if name.startswith("val")]) == found
        warned = f"split val of facades has {found} images where 2 were published; used all the same"
        assert (warned in capsys.readouterr().err) == (found != 2)


def test_a_file_that_is_no_jpeg_is_named(folder, tmp_path):
    (folder / "train" / "2.jpg").write_text("version https://git-lfs.github.com/spec/v1")
    assert "train/2.jpg is not a JPEG file" in refusal(tmp_path, folder)


@pytest.mark.parametrize("source", ["empty", "missing", "one_split"])
def test_a_source_without_the_set(tmp_path, source):
    (tmp_path / "empty").mkdir()
    (tmp_path / "one_split" / "train").mkdir(parents=True)
    assert f"{source}: no facades there; give facades.tar.gz, or" in refusal(tmp_path, tmp_path / source)


def test_an_unknown_set(tmp_path):
    with pytest.raises(UserError, match="'facade': there is no such published set; use one of fac"):
        prepare("facade", data_dir=tmp_path)
