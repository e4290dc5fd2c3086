"""Files beyond 8 bits and 3 channels, and those that lie about their size."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pix2pix_jax.data.files import high_bit_depth, images
from pix2pix_jax.errors import UserError

RANDOM = np.random.default_rng(0)


def pixels(*shape: int, dtype="uint16") -> np.ndarray:
    return RANDOM.integers(0, 250, shape).astype(dtype)


def tiff(image: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image, **options)
    return buffer.getvalue()


def npy(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, image)
    return buffer.getvalue()


INTERLEAVED = {"photometric": "minisblack", "planarconfig": "contig"}


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits(channels):
    image = pixels(5, 7, channels)
    file = imagecodecs.png_encode(image.squeeze())
    np.testing.assert_array_equal(images.decode(file, "x", None, None), image)
    header = images.read_header(io.BytesIO(file), "x")
    assert header == high_bit_depth.Header((5, 7), channels, channels in (2, 4), "uint16")


def test_transparency_of_a_16_bit_grey_png_without_alpha():
    buffer = io.BytesIO()
    Image.fromarray(np.array([[7, 300]], np.uint16)).save(buffer, "PNG", transparency=7)
    np.testing.assert_array_equal(images.decode(buffer.getvalue(), "x", 1, "uint16"), [[[65535], [300]]])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float16", "float64", "int16"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"compression": "lzw"}, {"tile": (16, 16)}])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_tiffs(dtype, options, channels):
    image = pixels(18, 20, channels, dtype=dtype)
    colours = {1: {}, 3: {"photometric": "rgb"}, 5: INTERLEAVED}[channels]
    decoded = images.decode(tiff(image.squeeze(), **options, **colours), "x", None, None)
    assert decoded.dtype == (dtype if dtype in ("uint8", "uint16") else "float32")
    np.testing.assert_array_equal(decoded, image)


@pytest.mark.parametrize(
    ("stored", "options"),
    [
        (lambda image: image, {"photometric": "minisblack", "planarconfig": "contig"}),
        (lambda image: image, {}),  # as tifffile writes an array by itself: pages, of which nothing says what they are
        (lambda image: np.moveaxis(image, -1, 0), {}),
        (lambda image: np.moveaxis(image, -1, 0), {"photometric": "minisblack", "planarconfig": "separate"}),
        (lambda image: np.moveaxis(image, -1, 0), {"imagej": True}),
        (lambda image: np.moveaxis(image, -1, 0), {"metadata": {"axes": "CYX"}}),
    ],
)
def test_however_a_tiff_keeps_its_channels(stored, options):
    image = pixels(18, 20, 5)
    np.testing.assert_array_equal(images.decode(tiff(stored(image), **options), "x", 5, "uint16"), image)


def test_a_tiff_of_several_images_is_refused():
    for options in ({"metadata": None}, {"metadata": {"axes": "TYX"}}):
        with pytest.raises(UserError, match=r"^x: a TIFF of several images \(5x18x20"):
            images.decode(tiff(pixels(5, 18, 20), **options), "x")


def test_tiff_colours():
    image = pixels(4, 5)
    inverted = images.decode(tiff(image, photometric="miniswhite"), "x", 1, None)
    np.testing.assert_array_equal(inverted[..., 0], 65535 - image)
    with pytest.raises(UserError, match="^x: a TIFF in the colours SEPARATED"):
        images.decode(tiff(pixels(4, 5, 4), photometric="separated"), "x")
    alpha = images.decode(tiff(np.zeros((4, 5, 4), np.uint16), photometric="rgb", extrasamples=[2]), "x", 3, None)
    np.testing.assert_array_equal(alpha, np.full((4, 5, 3), 65535))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png16", "tiff16", "tiff8"])
def test_orientation_as_pillow_sets_upright(orientation, kind):
    image = pixels(5, 7, 3, dtype="uint8")
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", exif=exif)
    expected = images.decode(buffer.getvalue(), "x")
    tags = [(274, "H", 1, orientation, True)]
    if kind == "png16":
        start = buffer.getvalue()
        position = start.index(b"eXIf") - 4
        chunk = start[position : position + 12 + struct.unpack(">I", start[position : position + 4])[0]]
        plain = imagecodecs.png_encode(image.astype(np.uint16) * 257)
        file = plain[:33] + chunk + plain[33:]
    else:
        file = tiff(image if kind == "tiff8" else image.astype(np.uint16) * 257, extratags=tags, photometric="rgb")
    np.testing.assert_array_equal(images.decode(file, "x"), expected)
    assert images.read_header(io.BytesIO(file), "x").size == expected.shape[:2]


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 6)])
def test_npy(shape):
    image = np.asfortranarray(RANDOM.random(shape))
    decoded = images.decode(npy(image), "x", None, None)
    np.testing.assert_array_equal(decoded, image.astype(np.float32).reshape(*decoded.shape))
    assert images.read_header(io.BytesIO(npy(image)), "x") == high_bit_depth.Header(
        (4, 5), decoded.shape[2], False, "float32"
    )


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 3, 4, 5)), "2x3x4x5"),
        (np.zeros(3), "one image is"),
        (np.zeros((0, 3)), "no pixels"),
        (np.zeros((3, 3, 0)), "an array of 3x3x0; one image is"),
        (np.array([[None]]), "type object"),
        (np.zeros((2, 2), [("a", "u1")]), "type"),
        (np.zeros((2, 2), np.complex64), "complex64"),
    ],
)
def test_arrays_that_are_no_image(array, words):
    with pytest.raises(UserError, match=words):
        images.decode(npy(array), "x")


def test_sizes_are_bounded_before_anything_is_allocated():
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d, %d), }" % (40_000, 40_000)
    bomb = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    width = tiff(pixels(4, 4)).replace(struct.pack("<HHII", 256, 4, 1, 4), struct.pack("<HHII", 256, 4, 1, 2**30))
    width = width.replace(struct.pack("<HHIHH", 256, 3, 1, 4, 0), struct.pack("<HHII", 256, 4, 1, 2**30))
    for file in (bomb, width):
        for function in (images.decode, images.read_header):
            with pytest.raises(UserError, match="^x: .*scale it down"):
                function(file, "x")
    with pytest.raises(UserError, match="scale it down"):
        high_bit_depth.check_size((20_000, 7_000), "x", depth=20)


FILES = {
    "png16": imagecodecs.png_encode(pixels(20, 24, 4)),
    "tiff": tiff(pixels(20, 24)),
    "tiff lzw": tiff(pixels(20, 24, 3), compression="lzw", predictor=True),
    "tiff tiled": tiff(pixels(40, 48, 3), tile=(16, 16), compression="zstd"),
    "tiff floats": tiff(RANDOM.random((20, 24, 5)), compression="zlib", **INTERLEAVED),
    "tiff pages": tiff(pixels(5, 20, 24)),
    "npy": npy(RANDOM.random((9, 8, 4))),
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of metadata
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_ends_in_a_user_error_or_an_image(data):
    file = bytearray(FILES[data.draw(st.sampled_from(sorted(FILES)))])
    length = data.draw(st.integers(0, len(file)))
    for _ in range(data.draw(st.integers(0, 4))):
        file[data.draw(st.integers(0, min(400, len(file) - 1)))] = data.draw(st.integers(0, 255))
    check(bytes(file[:length]))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"\x93NUMPY"]
    ),
    st.binary(max_size=300),
)
def test_any_bytes_end_in_a_user_error_or_an_image(start, rest):
    check(start + rest)


def check(content: bytes) -> None:
    for function in (lambda: images.decode(content, "a\nb", None, None), lambda: images.read_header(content, "a\nb")):
        try:
            function()
        except UserError as error:
            assert str(error).startswith("a\\nb: ") and "\n" not in str(error)
