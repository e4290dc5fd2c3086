"""What of a folder is a picture of the set, and what is left out, said or refused."""

import contextlib
import os
import socket

import numpy as np
import pytest
from pair_folders import fill, open_folder, refusal, save, values
from PIL import Image

from pix2pix_jax.errors import UserError


@pytest.mark.parametrize("pattern", ["{}/train", "train{}", "{}"])
def test_folders_of_classes_are_paired_class_by_class(tmp_path, pattern):
    for place in ("cats/deep", "dogs"):
        for side, value in (("A", 1), ("B", 2)):
            for i in range(3):
                save(tmp_path / pattern.format(side) / place / f"{i}.png", 10 * i + value)
    source = open_folder(tmp_path)
    assert len(source.names) == (5 if pattern == "{}" else 6) and any("dogs/1" in name for name in source.names)
    assert all(b == a + 1 for a, b in values(source))


def test_folders_of_classes_within_a_split(tmp_path):
    for name in ("cats/1", "cats/2", "dogs/1", "dogs/3"):
        save(tmp_path / "train" / f"{name}.png", 0)
    assert open_folder(tmp_path).names == [f"train/{name}" for name in ("cats/1", "cats/2", "dogs/1", "dogs/3")]
    (tmp_path / "train" / "dogs" / "loop").symlink_to(tmp_path / "train")
    assert len(open_folder(tmp_path).names) == 4
    save(tmp_path / "val" / "photo" / "1.png", 0)
    save(tmp_path / "val" / "label" / "1.png", 0)
    message = refusal(tmp_path, "val")
    assert "label/ and photo/ hold the same names" in message and "--config.a_folders=label" in message
    assert len(open_folder(tmp_path, "val", single=True).names) == 2  # photographs may lie as they like
    save(tmp_path / "photos" / "x" / "1.png", 0)
    save(tmp_path / "photos" / "y" / "1.png", 0)
    save(tmp_path / "photos" / "y" / "2.png", 0)
    assert len(open_folder(tmp_path / "photos", single=True).names) == 2


def test_all_kinds_of_pictures_of_a_folder_are_read(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 80, 3), np.uint8))
    (tmp_path / "train").mkdir()
    names = ("a.avif", "b.jp2", "c.j2k", "D.JPEG", "e.jfif", "f.tga", "g.pbm", "h.gif", "i.webp")
    for name in names:
        mode = image.convert("1") if name.endswith("pbm") else image
        mode.save(tmp_path / "train" / name, "JPEG" if name[0] in "De" else None)
    source = open_folder(tmp_path)
    assert sorted(source.names) == sorted(f"train/{name.split('.')[0]}" for name in names)
    assert all(source.pair(i, (3, 3))[1].shape == (40, 40, 3) for i in range(len(names)))
    assert source.note == "" and "ignored" not in source.describe()


def test_what_is_not_used_is_counted_and_named(tmp_path):
    fill(tmp_path, "train{}", 2)
    for name in ("trainA/a.txt", "trainB/Thumbs.db", "README.md", "trainA/.hidden.png", "trainA/x.HEIC"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "extra").mkdir()
    source = open_folder(tmp_path)
    assert source.note == (
        "ignored 1 picture (x.HEIC) that cannot be read; convert what cannot be read to PNG or JPEG; 1 folder (extra); "
        "4 other files (.hidden.png, README.md, Thumbs.db, ...)"
    )
    assert source.note in source.describe()
    joined = tmp_path / "joined"
    for name in ("train/1.png", "val/1.png", "stray.png"):
        save(joined / name, 0)
    assert open_folder(joined).note == "ignored 1 picture (stray.png) outside of the folders that are used"


def test_a_folder_of_pictures_that_cannot_be_read(tmp_path):
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    assert "but 1 file (IMG_1.HEIC), which cannot be read: convert to PNG or JPEG" in refusal(tmp_path)
    fill(tmp_path, "train{}", 2)
    (tmp_path / "IMG_1.HEIC").rename(tmp_path / "trainA" / "7.HEIC")
    save(tmp_path / "trainB" / "7.png", 0)
    assert "7.png; there is 1 file (7.HEIC), which cannot be read: convert" in refusal(tmp_path)


def test_pipes_and_sockets_are_no_files(tmp_path):
    fill(tmp_path, "train{}", 2)
    os.mkfifo(tmp_path / "trainA" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "trainB" / "s.png"))
        source = open_folder(tmp_path)
    assert len(source.names) == 2 and "2 other files (pipe.png, s.png)" in source.describe()


def test_folders_that_differ_in_case_alone(tmp_path):
    for i in range(3):
        save(tmp_path / "rgb" / f"{i}.png", i)
        save(tmp_path / "RGB" / f"{i}.png", i + 1)
    source = open_folder(tmp_path, a_folders=("rgb",), b_folders=("RGB",))
    assert all(b == a + 1 for a, b in values(source))


def test_names_that_differ_in_case_alone(tmp_path):
    for i, name in enumerate(("IMG", "img", "Img")):
        save(tmp_path / "A" / f"{name}.png", i)
        save(tmp_path / "B" / f"{name}.png", i + 1)
    assert all(b == a + 1 for a, b in values(open_folder(tmp_path)))


@contextlib.contextmanager
def unprivileged(folder):
    """Root may read all, so for a while it is nobody, who reaches `folder` but owns nothing."""
    if os.geteuid() != 0:
        yield
        return
    for place in (folder, *folder.parents):
        if place != place.parent and place.stat().st_uid == 0 and not place.stat().st_mode & 0o001:
            place.chmod(0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_may_not_be_read(tmp_path):
    fill(tmp_path, "train{}", 2)
    (tmp_path / "trainB" / "1.png").chmod(0)
    (tmp_path / "val" / "A").mkdir(parents=True)
    (tmp_path / "valA").mkdir()
    (tmp_path / "valB").mkdir()
    (tmp_path / "valA").chmod(0)
    with unprivileged(tmp_path):
        source = open_folder(tmp_path)
        for action in (source.describe, lambda: source.pair(1, (3, 3))):
            with pytest.raises(UserError, match=r"trainB/1\.png: cannot be read \(Permission denied\)"):
                action()
        assert "valA: cannot be listed (Permission denied)" in refusal(tmp_path, "val")
    (tmp_path / "valA").chmod(0o700)
