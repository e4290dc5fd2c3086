"""Decoding of the files that people really have, and of those that are broken."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pix2pix_jax.data.files import images
from pix2pix_jax.errors import UserError


def photo(height: int = 24, width: int = 36) -> np.ndarray:
    """A smooth picture that JPEG keeps within a few levels."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 8 + 20, columns * 5 + 30, 200 - rows * 3], -1).astype(np.uint8)


def encode(image: Image.Image | np.ndarray, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, file_format, **options)
    return buffer.getvalue()


def refusal(function, file, name: str = "some/where.png") -> str:
    """The message of the UserError that must come: one line, led by the file's name."""
    with pytest.raises(UserError) as caught:
        function(file, name)
    message = str(caught.value)
    assert message.startswith(f"{name}: ") and "\n" not in message
    return message


def read_size(file: bytes, name: str = "x") -> tuple[int, int]:
    return images.read_header(io.BytesIO(file), name).size


@pytest.mark.parametrize(("file_format", "tolerance"), [("JPEG", 12), ("PNG", 0), ("BMP", 0), ("TIFF", 0), ("PPM", 0)])
def test_pictures_are_read_as_they_are(file_format, tolerance):
    file = encode(photo(), file_format)
    decoded = images.decode(file, "x")
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - photo()).max() <= tolerance
    assert read_size(file) == (24, 36)


def test_a_path_and_an_open_file_serve_as_well_as_bytes(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encode(photo(), "PNG"))
    np.testing.assert_array_equal(images.decode(path, "x"), photo())
    with path.open("rb") as file:
        np.testing.assert_array_equal(images.decode(file, "x"), photo())


def test_a_missing_file(tmp_path):
    assert "no such file" in refusal(images.decode, tmp_path / "none.png")


@pytest.mark.parametrize(
    "content", [b"", b"this is not a picture\n", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" + bytes(99)]
)
def test_what_is_no_image_is_refused(content):
    for function in (images.decode, lambda file, name: read_size(file, name)):
        assert "not a readable image" in refusal(function, content, "notes.jpg")


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_truncated_image_is_refused(file_format):
    file = encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), file_format)
    assert "damaged" in refusal(images.decode, file[: len(file) // 2])


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of metadata
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "TIFF", "PPM", "WEBP", "GIF", "AVIF", "JPEG2000", "TGA"])
def test_damage_anywhere_ends_in_a_user_error_or_a_picture(file_format):
    file = encode(photo(), file_format)
    rng = np.random.default_rng(0)
    for _ in range(60):
        cut = file[: rng.integers(len(file))]
        changed = bytearray(file)
        for place in rng.integers(len(file) // 2 + 1, size=3):
            changed[place] = rng.integers(256)
        for content in (cut, bytes(changed)):
            for function in (images.decode, read_size):
                try:
                    function(content, "a.png")
                except UserError as error:
                    assert str(error).startswith("a.png: ") and "\n" not in str(error)


def test_the_size_is_read_from_the_header_alone():
    file = encode(np.random.default_rng(0).integers(0, 256, (64, 32, 3), np.uint8), "PNG")
    assert read_size(file[:200]) == (64, 32)


def test_16_bit_images_are_scaled_not_clipped():
    deep = (photo()[..., 0].astype(np.uint16) * 257) + 100
    decoded = images.decode(encode(deep, "PNG"), "x", channels=1)
    np.testing.assert_array_equal(decoded[..., 0], photo()[..., 0])
    assert images.decode(encode(np.full((2, 2), 65535, np.uint16), "PNG"), "x").min() == 255
    np.testing.assert_array_equal(images.decode(encode(deep, "TIFF"), "x", channels=1), decoded)


def test_grey_becomes_rgb_and_rgb_becomes_grey():
    grey = images.decode(encode(photo()[..., 0], "PNG"), "x")
    np.testing.assert_array_equal(grey, np.repeat(photo()[..., :1], 3, -1))
    single = images.decode(encode(photo(), "PNG"), "x", channels=1)
    assert single.shape == (24, 36, 1)
    assert np.abs(single[..., 0] - photo() @ [0.299, 0.587, 0.114]).max() <= 1


def test_palettes_are_resolved():
    colours = np.array([[255, 0, 0], [0, 0, 223], [10, 200, 30]], np.uint8)
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    assert image.mode == "P"
    np.testing.assert_array_equal(images.decode(encode(image, "PNG"), "x"), colours[indices])


def test_transparency_shows_white_whatever_colour_lies_below():
    alpha = np.array([[0, 255], [128, 0]], np.uint8)
    rgba = np.concatenate([np.full((2, 2, 3), 50, np.uint8), alpha[..., None]], -1)
    decoded = images.decode(encode(rgba, "PNG"), "x")
    np.testing.assert_allclose(decoded[..., 0].astype(int), [[255, 50], [152, 255]], atol=1)
    palette = Image.fromarray(np.array([[0, 1]], np.uint8))
    palette.putpalette([50, 50, 50, 7, 8, 9])
    decoded = images.decode(encode(palette, "PNG", transparency=0), "x")
    np.testing.assert_array_equal(decoded, [[[255] * 3, [7, 8, 9]]])


def test_cmyk():
    cmyk = Image.fromarray(photo()).convert("CMYK")
    decoded = images.decode(encode(cmyk, "JPEG", quality=95), "x")
    assert np.abs(decoded.astype(int) - photo()).max() <= 12


def test_pictures_taken_sideways_are_set_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show the file rotated clockwise
    file = encode(photo(), "PNG", exif=exif)
    np.testing.assert_array_equal(images.decode(file, "x"), np.rot90(photo(), -1))
    for file_format in ("PNG", "JPEG"):
        assert read_size(encode(photo(), file_format, exif=exif)) == (36, 24)
    exif[0x0112] = 3
    assert read_size(encode(photo(), "JPEG", exif=exif)) == (24, 36)


def test_of_an_animation_the_first_frame():
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    file = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(images.decode(file, "x"), np.tile([255, 0, 0], (6, 8, 1)))


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [14_500, 60_000])
def test_a_bomb_is_refused_before_it_is_decoded(side):
    for function in (images.decode, lambda file, name: read_size(file, name)):
        message = refusal(function, png_header(side, side))
        assert "pixels" in message and "scale it down" in message


def test_resize_takes_height_before_width_and_any_depth():
    for channels in (1, 3):
        resized = images.resize(photo()[..., :channels], (30, 20))
        assert resized.shape == (30, 20, channels) and resized.dtype == np.uint8
    np.testing.assert_array_equal(images.resize(photo(), (24, 36)), photo())


def test_resize_averages_instead_of_skipping_pixels():
    stripes = np.tile(np.array([0, 255], np.uint8), 32).reshape(1, 64, 1).repeat(64, 0)
    assert np.abs(images.resize(stripes, (16, 16)).astype(int) - 127).max() < 20


def test_png_round_trip():
    for image in (photo(), photo()[..., :1]):
        np.testing.assert_array_equal(images.decode(images.encode(image, ".png"), "x", image.shape[-1]), image)


def test_the_content_counts_not_the_name(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(encode(photo(), "PNG"))
    np.testing.assert_array_equal(images.decode(tmp_path / "photo.jpg", "photo.jpg"), photo())


def test_channels_of_the_file_itself():
    rgba = np.concatenate([photo(), photo()[..., :1]], -1)
    np.testing.assert_array_equal(images.decode(encode(rgba, "PNG"), "x", 4), rgba)
    for channels in (2, 4, 5):
        with pytest.raises(UserError, match=r"^x: has 3 channels; set --config\.input_channels=3"):
            images.decode(encode(photo(), "PNG"), "x", channels)
    assert images.decode(encode(photo(), "PNG"), "x", dtype="uint16").max() == int(photo().max()) * 257


@pytest.mark.parametrize("interpolation", sorted(images.INTERPOLATIONS))
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_resize_of_any_kind(interpolation, dtype, channels):
    image = np.repeat(photo()[..., :1], channels, -1).astype(dtype)
    resized = images.resize(image, (30, 20), interpolation)
    assert resized.shape == (30, 20, channels) and resized.dtype == dtype
    expected = images.resize(photo()[..., :1], (30, 20), interpolation)
    assert np.abs(resized.astype(float) - expected).max() <= 1
    if interpolation == "nearest":
        assert np.isin(resized, image).all()


def test_resize_does_not_wrap_around():
    edge = np.zeros((32, 32, 1), np.uint16)
    edge[:, 16:] = 65535
    resized = images.resize(edge, (41, 41), "lanczos")
    assert resized[:, :15].max() < 9000 and resized[:, 26:].min() > 56000


@pytest.mark.parametrize("size", [(1, 1), (1, 40)])
def test_tiny_images_can_be_resized(size):
    assert images.resize(np.full((*size, 3), 7, np.uint8), (32, 32)).max() == 7


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("dtype", "extension"), [("uint8", ".tif"), ("uint16", ".tiff"), ("float32", ".npy")])
def test_files_round_trip(channels, dtype, extension):
    image = np.random.default_rng(0).integers(0, 256, (9, 8, channels)).astype(dtype)
    for ending in {extension, ".tif"} | ({".png"} if dtype != "float32" and channels in (1, 3, 4) else set()):
        decoded = images.decode(images.encode(image, ending), "x", None, None)
        assert decoded.dtype == dtype
        np.testing.assert_array_equal(decoded, image)


@pytest.mark.parametrize("file_format", ["AVIF", "JPEG2000", "TGA", "QOI"])
def test_other_kinds_of_pictures(file_format):
    Image.init()
    if file_format not in Image.SAVE:
        pytest.skip("this Pillow does not write it")
    decoded = images.decode(encode(photo(), file_format), "x")
    assert decoded.shape == (24, 36, 3) and np.abs(decoded.astype(int) - photo()).max() <= 40


def test_deep_jpeg_2000():
    deep = (np.arange(24 * 36).reshape(24, 36) * 75).astype(np.uint16)
    file = encode(deep, "JPEG2000")
    np.testing.assert_array_equal(images.decode(file, "x", None, None)[..., 0], deep)


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "AVIF"])
def test_animations_are_told_from_pictures(file_format):
    frames = [Image.fromarray(np.roll(photo(), 9 * i, 0)) for i in range(3)]
    file = encode(frames[0], file_format, save_all=True, append_images=frames[1:])
    assert images.read_header(file, "x").animated
    assert not images.read_header(encode(photo(), file_format), "x").animated
    first = images.decode(file, "x").astype(int)
    assert np.abs(first - photo()).mean() < 12 < np.abs(first - np.roll(photo(), 9, 0)).mean()


def test_pictures_of_phones_are_no_animations():
    frames = [Image.fromarray(photo()), Image.fromarray(photo()[::2, ::2])]  # the second is a preview or a gain map
    file = encode(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert not images.read_header(file, "x").animated and images.decode(file, "x").shape == (24, 36, 3)


def test_pictures_that_cannot_be_read_say_so():
    assert "a HEIC picture" in refusal(images.decode, b"\0\0\0\x18ftypheic" + bytes(99))
    assert "not a readable image" in refusal(images.decode, b"\0\0\0\x18ftypmp42" + bytes(99))


def test_an_image_in_an_image_is_bounded_too():
    """An .icns holds a PNG, whose size Pillow meets as it decodes."""
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0, 0)
    icns = b"icns" + struct.pack(">I4sI", 16 + len(png), b"ic10", 8 + len(png)) + png
    with pytest.raises(UserError, match="x: .*; replace or delete it"):
        images.decode(icns, "x")


def test_no_other_program_is_started_for_an_image(monkeypatch, tmp_path):
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n"
    with pytest.raises(UserError, match="a PostScript program"):
        images.decode(program, "x.png")
    assert not (tmp_path / "started").exists()


def test_what_is_too_large_to_be_an_image_is_not_read(tmp_path):
    with open(tmp_path / "x.png", "wb") as file:
        file.truncate(images.MAX_FILE + 1)
    with pytest.raises(UserError, match="x.png: has more than 4 GiB"):
        images.decode(tmp_path / "x.png", "x.png")
