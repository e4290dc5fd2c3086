"""What stored values mean: the way to [-1, 1] and back, between dtypes, between numbers of channels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pix2pix_jax.data.files import value_range
from pix2pix_jax.data.files.value_range import ValueRange
from pix2pix_jax.errors import UserError


@pytest.mark.parametrize(("dtype", "count"), [("uint8", 256), ("uint16", 65536)])
def test_every_integer_survives_the_way_to_float_and_back(dtype, count):
    stored = np.arange(count).astype(dtype)
    floats = value_range.to_float(stored, ValueRange.of(dtype, None))
    assert floats.dtype == np.float32 and floats[0] == -1 and floats[-1] == 1
    back = value_range.from_float(floats, ValueRange.of(dtype, None))
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, stored)


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(0.1, 1e4))
def test_a_range_becomes_minus_one_to_one_and_what_is_beyond_is_clipped(low, width):
    stored = np.array([low - 1, low, low + width / 2, low + width, low + 2 * width], np.float32)
    meaning = ValueRange.of("float32", (low, low + width))
    floats = np.asarray(value_range.to_float(stored, meaning))
    tolerance = 1e-5 + 1e-6 * abs(low) / width
    np.testing.assert_allclose(floats, [-1, -1, 0, 1, 1], atol=3 * tolerance)
    back = np.asarray(value_range.from_float(floats, meaning))
    np.testing.assert_allclose(back, stored.clip(low, low + width), atol=tolerance * width)


def test_a_range_within_16_bits():
    meaning = ValueRange.of("uint16", (100, 4100))
    np.testing.assert_allclose(
        value_range.to_float(np.array([0, 100, 2100, 65535], np.uint16), meaning), [-1, -1, 0, 1]
    )
    np.testing.assert_array_equal(value_range.from_float(np.float32([-2, -1, 0, 2]), meaning), [100, 100, 2100, 4100])


def test_floats_need_a_range():
    with pytest.raises(UserError, match=r"^config\.target_range: unset.*--config\.target_range=LOW,HIGH"):
        ValueRange.of("float32", None, "config.target_range")
    assert ValueRange.of("auto", None) == value_range.UINT8


@pytest.mark.parametrize(("channels", "shown"), [(1, [9]), (2, [9, 9, 0]), (3, [9] * 3), (4, [9] * 3), (7, [9] * 3)])
def test_any_stream_can_be_shown(channels, shown):
    picture = value_range.render(np.full((2, 5, channels), 9 / 127.5 - 1, np.float32))
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[1, 2], shown)


def test_conversions_between_dtypes():
    bytes_ = np.arange(256).astype(np.uint8)
    deep = value_range.convert(bytes_, "uint16", "x")
    assert deep.dtype == np.uint16 and deep[-1] == 65535
    np.testing.assert_array_equal(value_range.convert(deep, "uint8", "x"), bytes_)
    every = np.arange(65536).astype(np.uint16)
    np.testing.assert_array_equal(value_range.convert(every, "uint8", "x"), np.round(np.arange(65536) / 257))
    np.testing.assert_array_equal(value_range.convert(deep, "float32", "x"), deep)
    with pytest.raises(UserError, match=r"^x: holds floating-point values.*input_dtype=float32"):
        value_range.convert(np.zeros(3, np.float32), "uint8", "x")


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        *(("bool", "uint8"), ("uint8", "uint8"), (">u2", "uint16"), ("int16", "float32"), ("int64", "float32")),
        *(("float16", "float32"), (">f8", "float32"), ("complex64", None), ("U3", None), ("M8[s]", None)),
    ],
)
def test_what_is_stored(dtype, stored):
    assert value_range.stored_dtype(np.dtype(dtype)) == stored
    if stored:
        assert value_range.to_stored(np.ones((2, 2, 1), dtype), "x").dtype == np.dtype(stored)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_not_finite_are_refused(value):
    with pytest.raises(UserError, match="^x: holds NaN or infinite values"):
        value_range.to_stored(np.array([[[0.0], [value]]]), "x")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_channels(dtype):
    white = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    grey = np.full((2, 2, 1), white, dtype) // 2
    np.testing.assert_array_equal(value_range.fit_channels(grey, 3, "x"), np.repeat(grey, 3, -1))
    colour = np.zeros((2, 2, 3), dtype)
    colour[..., 1] = white
    np.testing.assert_allclose(value_range.fit_channels(colour, 1, "x"), white * 0.587, rtol=0.01)
    clear = np.concatenate([colour, np.zeros((2, 2, 1), dtype)], -1)
    np.testing.assert_array_equal(value_range.fit_channels(clear, 3, "x", alpha=True), np.full((2, 2, 3), white))
    np.testing.assert_array_equal(value_range.fit_channels(clear, 4, "x", alpha=True), clear)
    for image, alpha, wanted in ((clear, False, 3), (clear[..., :2], False, 1), (colour, False, 5), (grey, False, 2)):
        with pytest.raises(UserError, match=f"--config.input_channels={image.shape[-1]}"):
            value_range.fit_channels(image, wanted, "x", alpha=alpha)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", value_range.DTYPES)
def test_pictures_of_stored_values_are_those_of_their_floats(channels, dtype):
    meaning = value_range.ValueRange.of(dtype, (-1.0, 2.0) if dtype == "float32" else None, "")
    stored = np.random.default_rng(0).integers(0, 256, (3, 4, channels)).astype(dtype) / (
        128 if dtype == "float32" else 1
    )
    stored = stored.astype(dtype)
    shown = value_range.picture(stored, meaning)
    np.testing.assert_array_equal(shown, value_range.render(value_range.to_float(stored, meaning)))
    assert shown.dtype == np.uint8 and shown.shape[-1] in (1, 3)


@pytest.mark.parametrize(
    ("given", "stream", "limits", "result"),
    [
        ("uint8", "float32", (-1, 1), [-1, 1]),
        ("uint16", "float32", (-1, 1), [-1, 1]),
        ("uint8", "float32", (0, 255), [0, 255]),
        ("uint16", "float32", (0, 4095), [0, 65535]),  # 12 bits in files of 16 are so
        ("uint8", "uint16", (0, 4095), [0, 4095]),
        ("uint8", "uint16", None, [0, 65535]),
        ("uint16", "uint8", None, [0, 255]),
        ("uint16", "uint8", (10, 20), [10, 20]),
        ("uint8", "uint8", (10, 20), [0, 255]),
        ("float32", "float32", (-1, 1), [0, 3e38]),
    ],
)
def test_files_of_another_dtype_than_the_stream_fill_its_range(given, stream, limits, result):
    top = np.float32(3e38) if given == "float32" else np.iinfo(given).max
    stored = np.array([0, top], given)
    fitted = value_range.fit_range(stored, stream, limits, "x")
    assert fitted.dtype == stream
    np.testing.assert_allclose(fitted, np.array(result, stream), rtol=1e-6)
    note = value_range.fitted(given, ValueRange.of(stream, limits))
    changes = given != stream and limits is not None
    assert bool(note) == (changes and limits != (0, 255))
    if note:
        kept = result == stored.tolist()
        assert note.endswith("taken as they are" if kept else f"0 to {top} became {result[0]} to {result[1]}")
