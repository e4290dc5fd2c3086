"""Pairs made of the files that users of cityscapes bring."""

import functools
import io
import shutil
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from pix2pix_jax.data.builders import pix2pix
from pix2pix_jax.data.builders.pix2pix import cityscapes, originals
from pix2pix_jax.data.builders.prepare import open_split, prepare
from pix2pix_jax.data.sources.datasets import open_source
from pix2pix_jax.errors import UserError

COUNTS = {"train": 3, "val": 2}
NAMES = {
    "train/aachen": ("aachen_000000_000019", "aachen_000001_000019"),
    "train/ulm": ("ulm_000000_000019",),
    "val/lindau": ("lindau_000000_000019", "lindau_000001_000019"),
}


@pytest.fixture(autouse=True)
def row(monkeypatch):
    row = pix2pix.Builder.builder_configs["cityscapes"]
    monkeypatch.setattr(row, "num_examples", COUNTS)
    return row


@functools.cache
def png(seed: int, mode: str = "RGB") -> bytes:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (4, 8, 3), dtype=np.uint8))
    file = io.BytesIO()
    small.resize((384, 192), Image.Resampling.NEAREST).convert(mode).save(file, "PNG")
    return file.getvalue()


def write_zips(folder, *, extra=(), without=()):
    """Both files, with others of their kinds in them: {which: {member: bytes}} are added, `without` left out."""
    folder.mkdir(parents=True, exist_ok=True)
    members = {cityscapes.PHOTOS: {"README": b"", "leftImg8bit/test/bonn/bonn_1_leftImg8bit.png": b"no picture"}}
    members[cityscapes.LABELS] = {"gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png": b"no picture"}
    names = [(place, name) for place, group in NAMES.items() for name in group]
    for seed, (place, name) in enumerate(names):
        members[cityscapes.PHOTOS][f"leftImg8bit/{place}/{name}_leftImg8bit.png"] = png(seed)
        members[cityscapes.LABELS][f"gtFine/{place}/{name}_gtFine_color.png"] = png(seed + 100, "RGBA")
    for file, name, data in extra:
        members[file][name] = data
    for file, content in members.items():
        with zipfile.ZipFile(folder / file, "w", zipfile.ZIP_STORED) as archive:
            for name, data in content.items():
                if name not in without:
                    archive.writestr(name, data)
    return folder


@pytest.fixture
def brought(tmp_path):
    return write_zips(tmp_path / "brought")


def bicubic(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((256, 256), Image.Resampling.BICUBIC))


def test_pairs_are_the_photograph_left_and_the_labels_right(brought, tmp_path, stored):
    builder = prepare("cityscapes", data_dir=tmp_path / "tfds", source=brought)
    pairs = stored(builder)
    names = [(place.partition("/")[0], name) for place, group in NAMES.items() for name in group]
    assert sorted(pairs) == sorted(f"{split}/{name}" for split, name in names)
    for seed, (split, name) in enumerate(names):
        pair = Image.open(io.BytesIO(pairs[f"{split}/{name}"]))
        assert (pair.format, pair.mode, pair.size) == ("PNG", "RGB", (512, 256))
        np.testing.assert_array_equal(np.asarray(pair)[:, :256], bicubic(png(seed)))
        np.testing.assert_array_equal(np.asarray(pair)[:, 256:], bicubic(png(seed + 100)))


def test_tfds_decodes_a_pair(brought, tmp_path):
    example = prepare("cityscapes", data_dir=tmp_path / "tfds", source=brought).as_data_source("val")[0]
    assert example["image"].shape == (256, 512, 3)
    assert example["name"].decode() in NAMES["val/lindau"]


@pytest.mark.parametrize("place", [".", "downloads/manual"])
def test_a_data_dir_holds_the_files(brought, tmp_path, place):
    data_dir = tmp_path / "tfds"
    shutil.copytree(brought, data_dir / place)
    source = open_source("cityscapes", "val", data_dir=str(data_dir), size=(256, 256), seed=0)
    assert source.names == [f"val/{name}" for name in NAMES["val/lindau"]]
    photo, labels = source.pair(0, (3, 3))
    np.testing.assert_array_equal(photo, bicubic(png(3)))
    np.testing.assert_array_equal(labels, bicubic(png(103)))


@pytest.mark.parametrize("file", [cityscapes.PHOTOS, cityscapes.LABELS])
def test_one_file_leads_to_the_other(brought, tmp_path, file):
    builder = prepare("cityscapes", data_dir=tmp_path / "tfds", source=brought / file)
    assert len(builder.as_data_source("train")) == COUNTS["train"]


def test_an_archive_of_pairs_is_taken_too(tmp_path, write_archive, images, monkeypatch, row, stored):
    monkeypatch.setattr(row, "num_examples", {"train": 4, "val": 2})
    source = write_archive(tmp_path / "cityscapes.tar.gz")
    builder = prepare("cityscapes", data_dir=tmp_path / "tfds", source=source)
    assert stored(builder) == {name: data for name, data in images.items() if not name.startswith("test")}


# What does not do


def refusal(tmp_path, source=None) -> str:
    with pytest.raises(UserError) as caught:
        prepare("cityscapes", data_dir=tmp_path / "tfds", source=source)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "tfds").glob("pix2pix/cityscapes/*"))
    return str(caught.value)


def test_without_the_files_a_line_says_what_to_fetch_and_where_to_put_it(tmp_path):
    message = refusal(tmp_path)
    assert message.startswith("cityscapes: its archive has been withdrawn")
    manual = str(tmp_path / "tfds" / "downloads" / "manual")
    for part in ("https://www.cityscapes-dataset.com", cityscapes.PHOTOS, cityscapes.LABELS, manual):
        assert part in message


@pytest.mark.parametrize("missing", [cityscapes.PHOTOS, cityscapes.LABELS])
def test_one_file_alone(brought, tmp_path, missing):
    (brought / missing).unlink()
    assert refusal(tmp_path, brought).startswith(f"{brought / missing}: no such file; register at")


def test_other_files_of_the_site(brought, tmp_path):
    (brought / cityscapes.PHOTOS).rename(brought / "leftImg8bit_trainextra.zip")
    (brought / cityscapes.LABELS).unlink()
    assert "no cityscapes there" in refusal(tmp_path, brought)


@pytest.mark.parametrize(
    "member, lacking",
    [
        ("leftImg8bit/train/ulm/ulm_000000_000019_leftImg8bit.png", cityscapes.PHOTOS),
        ("gtFine/val/lindau/lindau_000000_000019_gtFine_color.png", cityscapes.LABELS),
    ],
)
def test_a_picture_without_its_other(tmp_path, member, lacking):
    source = write_zips(tmp_path / "brought", without=[member])
    name = "_".join(member.split("/")[-1].split("_")[:3])
    split = member.split("/")[1]
    assert refusal(tmp_path, source) == f"{source / lacking}: has no {split} picture for {name}; download it again"


def test_too_few_pairs(tmp_path):
    without = [f"leftImg8bit/val/lindau/{name}_leftImg8bit.png" for name in NAMES["val/lindau"]]
    without += [f"gtFine/val/lindau/{name}_gtFine_color.png" for name in NAMES["val/lindau"]]
    message = refusal(tmp_path, write_zips(tmp_path / "brought", without=without))
    assert "split val of cityscapes has 0 images where 2 were published" in message


@pytest.mark.parametrize("damage", ["cut", "flipped", "html", "empty", "encrypted"])
def test_a_damaged_file(brought, tmp_path, damage):
    path = brought / cityscapes.LABELS
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[len(data) // 2 :]
    elif damage == "flipped":
        data[2000] ^= 255
    elif damage == "encrypted":
        for at in find_all(data, b"PK\x01\x02"):
            data[at + 8] |= 1  # the flag of encryption, in the directory and before the data
        for at in find_all(data, b"PK\x03\x04"):
            data[at + 6] |= 1
    else:
        data = b"<html>log in</html>" if damage == "html" else b""
    path.write_bytes(data)
    message = refusal(tmp_path, brought)
    assert message.startswith(f"{path}: ")
    assert "download it again" in message or "damaged image" in message


def find_all(data: bytes, start: bytes):
    at = data.find(start)
    while at >= 0:
        yield at
        at = data.find(start, at + 1)


def test_a_file_that_is_no_picture(tmp_path):
    name = "leftImg8bit/train/ulm/ulm_9_leftImg8bit.png"
    labels = (cityscapes.LABELS, "gtFine/train/ulm/ulm_9_gtFine_color.png", png(0))
    source = write_zips(tmp_path / "brought", extra=[(cityscapes.PHOTOS, name, b"text"), labels])
    assert f"{name}: not a readable image" in refusal(tmp_path, source)


def test_names_that_lead_elsewhere_are_not_looked_at(tmp_path, stored):
    evil = [
        "../leftImg8bit/train/ulm/ulm_1_leftImg8bit.png",
        "/leftImg8bit/train/ulm/ulm_1_leftImg8bit.png",
        "leftImg8bit/train/ulm/../ulm_1_leftImg8bit.png",
        "leftImg8bit/train/ulm/deep/ulm_1_leftImg8bit.png",
        "leftImg8bit/train/ulm/ulm\n1_leftImg8bit.png",
        "leftImg8bit/train/ulm/ülm_leftImg8bit.png",
    ]
    source = write_zips(tmp_path / "brought", extra=[(cityscapes.PHOTOS, name, png(0)) for name in evil])
    assert len(stored(prepare("cityscapes", data_dir=tmp_path / "tfds", source=source))) == 5


def test_an_oversized_picture_is_refused(brought, tmp_path, monkeypatch):
    monkeypatch.setattr(originals, "MAX_BYTES", 100)
    assert "more than the 100 that an image may have" in refusal(tmp_path, brought)


def test_a_bomb_of_pixels_is_refused(tmp_path):
    header = struct.pack(">IIBBBBB", 2**16, 2**16, 8, 2, 0, 0, 0)
    chunks = [struct.pack(">I", len(data)) + kind + data for kind, data in ((b"IHDR", header), (b"IDAT", b""))]
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(c + struct.pack(">I", zlib.crc32(c[4:])) for c in chunks)
    name = "leftImg8bit/train/aachen/aachen_0_leftImg8bit.png"
    labels = (cityscapes.LABELS, "gtFine/train/aachen/aachen_0_gtFine_color.png", png(0))
    source = write_zips(tmp_path / "brought", extra=[(cityscapes.PHOTOS, name, bomb), labels])
    message = refusal(tmp_path, source)
    assert name in message and "scale it down" in message


def test_a_picture_twice_is_refused(tmp_path):
    twice = (cityscapes.LABELS, "gtFine/train/ulm/aachen_000000_000019_gtFine_color.png", png(0))
    message = refusal(tmp_path, write_zips(tmp_path / "brought", extra=[twice]))
    assert "train picture aachen_000000_000019 is there twice" in message


def test_there_is_no_test_split(brought):
    with pytest.raises(UserError, match="cityscapes: has no split test, only train, val"):
        open_split("cityscapes", "test", data_dir=brought)
