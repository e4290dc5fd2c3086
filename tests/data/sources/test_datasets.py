"""Sources: which pairs a folder holds, in which order, and which half is the input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.data.sources import datasets
from pix2pix_jax.data.sources.datasets import natural_key, open_source
from pix2pix_jax.errors import UserError
from pix2pix_jax.io import storage

A, B = (200, 30, 40), (10, 90, 250)


def save(path, height: int = 8, half: int = 6, width: int | None = None) -> None:
    """A pair whose left half has colour A and whose right half has colour B."""
    image = np.empty((height, width or 2 * half, 3), np.uint8)
    image[:, :half], image[:, half:] = A, B
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def fill(folder, *names: str):
    for name in names:
        save(folder / name)
    return folder


def open_folder(folder, split: str = "train", dataset: str = "folder"):
    return open_source(dataset, split, data_dir=str(folder), size=(32, 32), seed=0)


def refusal(folder, split: str = "train") -> str:
    with pytest.raises(UserError) as caught:
        open_folder(folder, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_splits_are_folders_where_there_are_any(tmp_path):
    fill(tmp_path, "train/a.png", "train/b.jpg", "val/c.png", "stray.png")
    assert open_folder(tmp_path).names == ["train/a", "train/b"]
    assert open_folder(tmp_path, "val").names == ["val/c"]
    assert "no test/" in refusal(tmp_path, "test") and "train, val" in refusal(tmp_path, "test")


def test_natural_order(tmp_path):
    fill(tmp_path, *(f"train/{name}.png" for name in ("10", "9", "1", "img12", "img2", "b")))
    assert [name.split("/")[1] for name in open_folder(tmp_path).names] == ["1", "9", "10", "b", "img2", "img12"]


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.sampled_from("0123456789ab._-²½٣é"), max_size=6), max_size=5))
def test_any_names_can_be_sorted(names):
    assert len(sorted(names, key=natural_key)) == len(names)


def test_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    """1 and 01 are the same number."""
    fill(tmp_path, "train/1.png", "train/01.png", "train/001.png")
    forwards = open_folder(tmp_path).names
    path_type = type(storage.folder(tmp_path))
    listing = path_type.iterdir
    for key in (str, lambda path: str(path)[::-1], lambda path: -len(str(path))):
        monkeypatch.setattr(path_type, "iterdir", lambda self, key=key: iter(sorted(listing(self), key=key)))
        assert open_folder(tmp_path).names == forwards


def test_hidden_and_foreign_files_are_not_pairs(tmp_path):
    fill(tmp_path, "train/a.png", "train/.hidden.png", "train/UPPER.PNG")
    (tmp_path / "train" / "notes.txt").write_text("not a picture")
    (tmp_path / "train" / "folder.png").mkdir()
    assert [name.split("/")[1] for name in open_folder(tmp_path).names] == ["UPPER", "a"]


def test_without_splits_a_tenth_is_held_out(tmp_path):
    fill(tmp_path, *(f"{i}.png" for i in range(30)))
    train, val = open_folder(tmp_path).names, open_folder(tmp_path, "val").names
    assert len(val) == 3 and not set(train) & set(val)
    assert set(train) | set(val) == {str(i) for i in range(30)}
    assert train == sorted(train, key=int) and val == sorted(val, key=int)
    assert val != [str(i) for i in range(3)]  # by hash, not the first


def test_a_new_file_moves_at_most_one_other(tmp_path):
    fill(tmp_path, *(f"{i}.png" for i in range(20)))
    before = set(open_folder(tmp_path, "val").names)
    for new in map(str, range(20, 50)):
        fill(tmp_path, f"{new}.png")
        after = set(open_folder(tmp_path, "val").names)
        assert len((before ^ after) - {new}) <= 1
        before = after


def test_two_files_make_one_example_each(tmp_path):
    fill(tmp_path, "a.png", "b.png")
    assert len(open_folder(tmp_path).names) == len(open_folder(tmp_path, "val").names) == 1


def test_folders_that_cannot_serve(tmp_path):
    missing = tmp_path / "none"
    assert refusal(missing).startswith(f"{missing}: no such directory")
    assert refusal(tmp_path).startswith(f"{tmp_path}: holds no images")
    (tmp_path / "train").mkdir()
    assert refusal(tmp_path).startswith(f"{tmp_path / 'train'}: holds no images")
    one = fill(tmp_path / "one", "a.png")
    assert "one image alone" in refusal(one)
    assert "--split=val" in refusal(one, "test")
    assert "config.data_dir" in refusal("")


def test_an_odd_width_has_no_halves(tmp_path):
    save(tmp_path / "train" / "odd.png", width=13)
    source = open_folder(tmp_path)
    for action in (source.describe, lambda: source.pair(0, (3, 3))):
        with pytest.raises(UserError, match=r"odd\.png: 13 pixels wide"):
            action()


def test_a_broken_file_is_named(tmp_path):
    fill(tmp_path, "train/a.png")
    (tmp_path / "train" / "bad.jpg").write_bytes(b"")
    source = open_folder(tmp_path)
    for action in (source.describe, lambda: source.pair(1, (3, 3))):
        with pytest.raises(UserError, match=r"^.*train/bad\.jpg: not a readable image"):
            action()


def test_sizes_are_described(tmp_path):
    fill(tmp_path, "train/a.png", "train/b.png")
    assert open_folder(tmp_path).describe() == f"2 pairs of 8x6 (HxW) from {tmp_path}"
    save(tmp_path / "train" / "c.png", height=20, half=30)
    text = open_folder(tmp_path).describe()
    assert text.startswith("3 pairs of 8x6 (HxW)") and "the largest 20x30 (HxW)" in text


@pytest.mark.parametrize(("direction", "first", "second"), [("AtoB", A, B), ("BtoA", B, A)])
def test_direction_says_which_half_is_the_input(tmp_path, direction, first, second):
    fill(tmp_path, "train/a.png")
    pairs = PairedDataset(open_folder(tmp_path), direction, (10, 5))
    assert (len(pairs), pairs.name(0)) == (1, "train/a")
    np.testing.assert_array_equal(pairs[0]["input"], np.tile(np.uint8(first), (10, 5, 1)))
    np.testing.assert_array_equal(pairs[0]["target"], np.tile(np.uint8(second), (10, 5, 1)))


@pytest.mark.parametrize(("direction", "colour"), [("AtoB", B), ("BtoA", A)])
def test_one_channel_is_grey(tmp_path, direction, colour):
    fill(tmp_path, "train/a.png")
    source = open_folder(tmp_path)
    example = PairedDataset(source, direction, (8, 6), input_channels=1)[0]
    assert (example["input"].shape, example["target"].shape) == ((8, 6, 1), (8, 6, 3))
    np.testing.assert_array_equal(example["target"][0, 0], colour)
    example = PairedDataset(source, direction, (8, 6), target_channels=1)[0]
    assert (example["input"].shape, example["target"].shape) == ((8, 6, 3), (8, 6, 1))
    assert abs(int(example["target"][0, 0, 0]) - np.dot(colour, [0.299, 0.587, 0.114])) <= 1


def test_a_published_set_is_read_from_its_own_folder(tmp_path):
    fill(tmp_path, "train/1.jpg", "train/2.jpg", "val/1.jpg")
    assert open_folder(tmp_path, dataset="facades").names == ["train/1", "train/2"]
    assert open_folder(tmp_path, "val", dataset="facades").names == ["val/1"]


def test_drawn_splits_share_no_picture(monkeypatch):
    drawn = []
    picture = np.zeros((32, 32, 3), np.uint8)
    monkeypatch.setattr(datasets, "draw_pair", lambda *arguments: drawn.append(arguments) or (picture, picture))
    for split, count in (("train", 400), ("val", 100), ("test", 100)):
        source = open_source("drawn_facades", split, data_dir="", size=(32, 32), seed=7)
        assert len(set(source.names)) == count
        for i in range(count):
            source.pair(i, (3, 3))
    assert len(set(drawn)) == 600
    assert {(seed, size) for seed, _, size in drawn} == {(7, (32, 32))}


def test_drawn_pairs_come_at_their_size_and_in_colour():
    source = open_source("drawn_facades", "train", data_dir="", size=(32, 48), seed=0)
    photo, labels = source.pair(0, (3, 3))
    assert photo.shape == labels.shape == (32, 48, 3)
    with pytest.raises(UserError, match=r"^config\.input_channels"):
        source.pair(0, (1, 3))
