"""Layouts of people's own data: which are recognised, what is refused, and that partners stay together."""

import os
import pickle
import unicodedata

import imagecodecs
import numpy as np
import pytest
import tifffile
from pair_folders import fill, open_folder, refusal, save, values
from PIL import Image

from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.errors import UserError


@pytest.mark.parametrize("patterns", [("{}/train", "{}/test"), ("train/{}", "test/{}"), ("train{}", "test{}")])
def test_folders_with_splits(tmp_path, patterns):
    fill(tmp_path, patterns[0], 12)
    fill(tmp_path, patterns[1], 2)
    source = open_folder(tmp_path)
    assert source.names == [f"train/{i}" for i in range(12)]
    assert values(source) == [(2 * i, 2 * i + 1) for i in range(12)]
    assert len(open_folder(tmp_path, "test").names) == 2
    assert "has no val/, only train, test" in refusal(tmp_path, "val")
    assert source.describe() == f"12 pairs of 6x8 (HxW) from {tmp_path}"


def test_folders_without_splits(tmp_path):
    fill(tmp_path, "{}", 20, a="jpg", b="tif")
    train, val = open_folder(tmp_path), open_folder(tmp_path, "val")
    assert len(train.names) == 18 and len(val.names) == 2 and not set(train.names) & set(val.names)
    assert train.names == sorted(train.names, key=int)
    for source in (train, val):
        for name, (a, b) in zip(source.names, values(source), strict=True):
            assert a == 2 * int(name) and b == 2 * int(name) + 1
    (tmp_path / "A" / "3.jpg").rename(tmp_path / "A" / "3.jpeg")  # the ending does not move it to another split
    assert open_folder(tmp_path, "val").names == val.names
    assert "--split=val" in refusal(tmp_path, "test")


def test_files_without_partners_are_named(tmp_path):
    fill(tmp_path, "train{}", 3)
    for i in range(5, 17):
        save(tmp_path / "trainA" / f"{i}.png", 0)
    message = refusal(tmp_path)
    assert "trainA: 12 of 15 files have no partner" in message
    assert "trainB: 5.png, 6.png, 7.png, ...; delete or add" in message
    other = fill(fill(tmp_path / "other", "{}/train"), "{}/val")
    save(other / "B" / "val" / "extra.png", 0)
    assert len(open_folder(other).names) == 4
    assert "val: 1 of 5 files has no partner" in refusal(other, "val") and "extra.png; delete" in refusal(other, "val")


def test_two_files_of_one_stem(tmp_path):
    fill(tmp_path, "{}", 3)
    save(tmp_path / "A" / "1.jpg", 0)
    assert "has the name of" in refusal(tmp_path) and "delete or rename one" in refusal(tmp_path)


@pytest.mark.parametrize("others", [("train{}",), ("{}/train",)])
def test_several_layouts_are_refused(tmp_path, others):
    fill(tmp_path, "{}", 3)
    for pattern in others:
        fill(tmp_path, pattern, 3)
    assert "fits several layouts" in refusal(tmp_path)


def test_side_by_side_images_beside_folders_are_refused(tmp_path):
    fill(tmp_path, "{}", 3)
    save(tmp_path / "stray.png", 0)
    assert "fits several layouts (A/ and B/; A|B images as stray.png)" in refusal(tmp_path)
    save(tmp_path / "train" / "x.png", 0)
    assert "A|B images as train/x.png" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (("A",), "has A but no B"),
        (("trainB", "testB"), "has trainB but no trainA"),
        (("photos", "labels"), "of its folders (labels, photos) name two with --config.a_folders"),
        (("A", "B"), "A: holds no images"),
    ],
)
def test_what_is_missing_is_said(tmp_path, folders, words):
    for folder in folders:
        (tmp_path / folder).mkdir()
    assert words in refusal(tmp_path)


def test_a_split_that_only_one_side_has(tmp_path):
    fill(tmp_path, "{}/train", 2)
    (tmp_path / "A" / "val").mkdir()
    assert "B/val: no such directory, but there is" in refusal(tmp_path)


@pytest.mark.parametrize("pattern", ["{}", "{}/train", "train{}"])
def test_folders_of_other_names_are_stacked_to_channels(tmp_path, pattern):
    for i in range(3):
        save(tmp_path / pattern.format("rgb") / f"{i}.png", i)
        save(tmp_path / pattern.format("depth") / f"{i}.tif", 50 + i, channels=1)
        save(tmp_path / pattern.format("out") / f"{i}.png", 9)
    source = open_folder(tmp_path, a_folders=("rgb", "depth"), b_folders=("out",))
    assert source.dtypes() == ("uint16", "uint8")
    a, b = source.pair(1, (4, 3))
    number = int(source.names[1].split("/")[-1])
    np.testing.assert_array_equal(a[0, 0], [257 * number] * 3 + [50 + number])
    assert b.shape == (6, 8, 3) and source.header(0)[0].channels == 4
    with pytest.raises(UserError, match=r"rgb.*with.*depth.*has 4 channels; set --config\.input_channels=4"):
        source.pair(0, (3, 3))
    example = PairedDataset(source, "BtoA", (12, 16), target_channels=4, target_dtype="uint16")[1]
    assert example["input"].shape == (12, 16, 3) and example["target"].shape == (12, 16, 4)
    (tmp_path / pattern.format("depth") / "1.tif").unlink()
    assert "no partner" in refusal(tmp_path, a_folders=("rgb", "depth"), b_folders=("out",))
    assert "has no infrared" in refusal(tmp_path, a_folders=("infrared",), b_folders=("out",))


def test_stacked_images_of_different_sizes_are_refused(tmp_path):
    fill(tmp_path, "{}", 2)
    for i in range(2):
        save(tmp_path / "C" / f"{i}.png", 0, size=(3, 3))
    source = open_folder(tmp_path, a_folders=("A", "C"))
    for action in (lambda: source.pair(0, (6, 3)), source.describe):
        with pytest.raises(UserError, match=r"3x3 \(HxW\), but .* on which it is stacked, has 6x8 \(HxW\)"):
            action()


def arrays(count=12, b_channels=3):
    a = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 6, 8, 3), np.uint8)
    return a, (a + 100)[..., :b_channels].squeeze()


@pytest.mark.parametrize("names", [("A", "B"), ("input", "target"), ("arr_0", "arr_1")])
@pytest.mark.parametrize("save_array", [np.savez, np.savez_compressed])
def test_an_npz(tmp_path, names, save_array):
    save_array(tmp_path / "pairs.npz", **dict(zip(names, arrays(b_channels=1), strict=True)))
    train, val = (open_folder(tmp_path / "pairs.npz", split) for split in ("train", "val"))
    assert len(train.names) == 11 and len(val.names) == 1
    assert values(train) == [(int(name), int(name) + 100) for name in train.names]
    assert "from" in train.describe() and train.places == (f"array {names[0]}", f"array {names[1]}")


def test_npz_files_of_splits(tmp_path):
    for split, count in (("train", 3), ("val", 2)):
        a, b = arrays(count)
        np.savez(tmp_path / f"{split}.npz", a, b)
    assert open_folder(tmp_path).names == ["train/0", "train/1", "train/2"]
    assert values(open_folder(tmp_path, "val")) == [(0, 100), (1, 101)]
    assert "no test/" in refusal(tmp_path, "test")


@pytest.mark.parametrize("prefix", ["", "train"])
def test_npy_files(tmp_path, prefix):
    for name, array in zip("AB", arrays(), strict=True):
        np.save(tmp_path / f"{prefix}{name}.npy", array)
    source = open_folder(tmp_path)
    assert len(source.names) == (12 if prefix else 11)
    assert isinstance(source._stacks[0]._array, np.memmap)
    assert all(b == a + 100 for a, b in values(source))


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({"A": np.zeros((3, 4, 4, 3))}, "holds A; save two arrays"),
        ({"x": np.zeros(3), "y": np.zeros(3)}, "holds x, y; save two arrays in it, named A and B or"),
        ({n: np.zeros((2, 4, 4)) for n in ("A", "B", "input", "target")}, "save two arrays"),
        ({"A": np.zeros((3, 4, 4)), "B": np.zeros((2, 4, 4))}, "B: 2 images, but"),
        ({"A": np.zeros((4, 4)), "B": np.zeros((4, 4))}, "an array of 4x4; must be (N, H, W, C)"),
        ({"A": np.array([[[None]]]), "B": np.zeros((1, 4, 4))}, "holds values of type object"),
    ],
)
def test_npz_files_that_cannot_serve(tmp_path, contents, words):
    np.savez(tmp_path / "x.npz", **contents)
    assert words in refusal(tmp_path / "x.npz")


def test_broken_array_files(tmp_path):
    np.savez(tmp_path / "x.npz", *arrays())
    whole = (tmp_path / "x.npz").read_bytes()
    for content in (b"", b"PK\x03\x04", whole[: len(whole) // 2], whole[1000:]):
        (tmp_path / "x.npz").write_bytes(content)
        assert "replace or delete it" in refusal(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", A=np.ones((50, 20, 20, 3)), B=np.ones((50, 20, 20, 3)))
    damaged = bytearray((tmp_path / "x.npz").read_bytes())
    damaged[100_000:100_100] = bytes(100)  # the headers are whole
    (tmp_path / "x.npz").write_bytes(damaged)
    source = open_folder(tmp_path / "x.npz")
    with pytest.raises(UserError, match="damaged file"):
        source.pair(0, (3, 3))
    for name in "AB":
        np.save(tmp_path / f"{name}.npy", np.zeros((3, 8, 8, 3)))
    (tmp_path / "A.npy").write_bytes((tmp_path / "A.npy").read_bytes()[:-8])
    assert "too short for 3x8x8x3" in refusal(tmp_path)


def test_a_file_that_is_no_npz(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"")
    assert "a file; set config.data_dir to a folder" in refusal(tmp_path / "x.zip")


def test_links(tmp_path):
    inside, outside = fill(tmp_path / "in", "{}", 3), tmp_path / "secret.png"
    save(outside, 0)
    (inside / "A" / "9.png").symlink_to(inside / "A" / "1.png")  # stays inside
    (inside / "B" / "9.png").symlink_to("1.png")
    (tmp_path / "link").symlink_to(inside)
    assert len(open_folder(tmp_path / "link").names) == 3
    (inside / "B" / "9.png").unlink()
    (inside / "B" / "9.png").symlink_to(outside)
    assert "B/9.png: a link out of the folder, to" in refusal(inside)
    outside.unlink()
    assert "which does not exist" in refusal(inside)


def test_odd_names(tmp_path):
    composed, apart = (unicodedata.normalize(form, "für.png") for form in ("NFC", "NFD"))
    save(tmp_path / "A" / composed, 1)
    save(tmp_path / "B" / apart, 2)
    for name in ("a\nb.png", "日本.png", os.fsdecode(b"\xff.png")):
        save(tmp_path / "A" / name, 3)
        save(tmp_path / "B" / name, 4)
    assert len(open_folder(tmp_path).names) == 3
    (tmp_path / "A" / "a\nb.png").write_bytes(b"")
    source = open_folder(tmp_path, "train")
    with pytest.raises(UserError, match=r"a\\nb\.png: not a readable image"):
        source.describe()
    save(tmp_path / "A" / "\x1b[31m.png", 0)
    assert r"\x1b[31m.png" in refusal(tmp_path) and "\x1b" not in refusal(tmp_path)


def test_dtypes_are_the_widest(tmp_path):
    fill(tmp_path, "train{}", 3)
    assert open_folder(tmp_path).dtypes() == ("uint8", "uint8")
    (tmp_path / "trainA" / "1.png").write_bytes(imagecodecs.png_encode(np.zeros((6, 8, 3), np.uint16)))
    assert open_folder(tmp_path).dtypes() == ("uint16", "uint8")
    tifffile.imwrite(tmp_path / "trainB" / "1.tif", np.zeros((6, 8), np.float32))
    (tmp_path / "trainB" / "1.png").unlink()
    assert open_folder(tmp_path).dtypes() == ("uint16", "float32")


@pytest.mark.parametrize("name", ["x.npz", "A.npy"])
def test_arrays_go_to_worker_processes(tmp_path, name):
    if name == "x.npz":
        np.savez(tmp_path / name, *arrays())
    else:
        for side, array in zip("AB", arrays(), strict=True):
            np.save(tmp_path / f"{side}.npy", array)
    source = open_folder(tmp_path / name if name == "x.npz" else tmp_path)
    before = values(source)
    sent = pickle.dumps(source)
    assert len(sent) < 4000 and values(pickle.loads(sent)) == before


def test_label_maps_keep_their_labels(tmp_path):
    for i in range(2):
        save(tmp_path / "train" / f"{i}.png", 0, size=(8, 16))
    image = np.zeros((8, 16, 3), np.uint8)
    image[::2] = 200
    Image.fromarray(image).save(tmp_path / "train" / "0.png")
    for method, labels in (("nearest", {0, 200}), ("bicubic", None)):
        target = PairedDataset(open_folder(tmp_path), "AtoB", (13, 13), target_interpolation=method)[0]["target"]
        assert (set(np.unique(target)) == labels) == (labels is not None)


@pytest.mark.parametrize("splits", [("Train", "TEST"), ("training", "testing"), ("TRAINING", "Validation")])
@pytest.mark.parametrize("pattern", ["{0}", "{0}/{1}", "{1}/{0}", "{0}{1}"])
def test_splits_by_their_other_names(tmp_path, splits, pattern):
    for split, count in zip(splits, (4, 2), strict=True):
        if pattern == "{0}":
            for i in range(count):
                save(tmp_path / split / f"{i}.png", 0)
        else:
            fill(tmp_path, pattern.format(split, "{}"), count)
    assert len(open_folder(tmp_path).names) == 4
    assert len(open_folder(tmp_path, "val" if splits[1] == "Validation" else "test").names) == 2


def test_two_names_of_one_split_are_refused(tmp_path):
    for name in ("train", "Train"):
        save(tmp_path / name / "0.png", 0)
    assert "has Train and train, which are names of the same; keep one" in refusal(tmp_path)
    for name in ("trainA", "trainB", "trainingA"):
        save(tmp_path / "other" / name / "0.png", 0)
    assert "has trainA and trainingA" in refusal(tmp_path / "other")


def test_arrays_by_other_names(tmp_path):
    for split in ("Training", "valid"):
        np.savez(tmp_path / f"{split}.npz", *arrays(3))
    assert len(open_folder(tmp_path).names) == len(open_folder(tmp_path, "val").names) == 3


@pytest.mark.parametrize("endings", [("_A", "_B"), ("_real_A", "_fake_B"), ("-in", ".out"), ("A", "B")])
def test_names_that_differ_in_an_ending_are_pairs(tmp_path, endings):
    for i in (1, 2, 10, 11, 21):
        save(tmp_path / "trainA" / f"{i}{endings[0]}.png", i)
        save(tmp_path / "trainB" / f"{i}{endings[1]}.jpg", 100 + i)
    source = open_folder(tmp_path)
    assert source.names == [f"train/{i}" for i in (1, 2, 10, 11, 21)]
    assert values(source) == [(i, 100 + i) for i in (1, 2, 10, 11, 21)]
    (tmp_path / "trainB" / f"2{endings[1]}.jpg").unlink()
    assert f"2{endings[0]}.png" in refusal(tmp_path)


def test_unpaired_sets_are_no_pairs(tmp_path):
    save(tmp_path / "trainA" / "horse.png", 0)
    save(tmp_path / "trainB" / "zebra.png", 0)
    assert "no two names agree, and pairs are found by their names" in refusal(tmp_path)
    for i in range(3):
        save(tmp_path / "trainA" / f"n024_{i}.png", 0)
        save(tmp_path / "trainB" / f"n991_{i + 7}.png", 0)
    assert "no two names agree" in refusal(tmp_path)
