"""Augmentation on images whose pixels hold their own coordinates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pix2pix_jax.data.augment import crop_and_mirror
from pix2pix_jax.data.files.value_range import from_float, to_float

SIZE, CROP = (20, 23), (16, 18)
augment = jax.jit(crop_and_mirror, static_argnames=("size", "mirror"))


def coordinates(n: int) -> np.ndarray:
    """uint8 (n, *SIZE, 3): row, column, example."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack([np.stack([rows, columns, np.full(SIZE, i)], -1) for i in range(n)]).astype(np.uint8)


def moved(seed: int, n: int = 4, *, mirror: bool = True) -> np.ndarray:
    """Where each pixel of the inputs came from: (n, *CROP, 3), after checking that the targets moved alike."""
    batch = {"input": coordinates(n), "target": 255 - coordinates(n)}
    result = augment(batch, jax.random.key(seed), size=CROP, mirror=mirror)
    assert {x.dtype for x in result.values()} == {jnp.dtype("float32")}
    image, target = (np.asarray(from_float(result[name])).astype(int) for name in ("input", "target"))
    np.testing.assert_array_equal(image, 255 - target)
    return image


def windows(image: np.ndarray) -> list[tuple[int, int, bool]]:
    """(top, left, flipped) of every example."""
    return [(int(x[0, 0, 0]), int(x[..., 1].min()), bool(x[0, 0, 1] > x[0, -1, 1])) for x in image]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_every_crop_is_a_window_inside_its_own_image_flipped_or_not(seed, mirror):
    image = moved(seed, mirror=mirror)
    for i, (top, left, flipped) in enumerate(windows(image)):
        assert 0 <= top <= SIZE[0] - CROP[0] and 0 <= left <= SIZE[1] - CROP[1]
        window = coordinates(4)[i, top : top + CROP[0], left : left + CROP[1]]
        np.testing.assert_array_equal(image[i], window[:, ::-1] if flipped else window)
        assert mirror or not flipped


def test_all_windows_and_both_flips_come_up_equally_often():
    drawn = windows(moved(0, 256)) + windows(moved(1, 256))
    tops, lefts, flips = zip(*drawn, strict=True)
    for values, count in ((tops, 5), (lefts, 6), (flips, 2)):
        found, times = np.unique(values, return_counts=True)
        assert len(found) == count  # the last window too
        expected = len(drawn) / count
        assert np.abs(times - expected).max() < 5 * np.sqrt(expected)


def test_examples_of_a_batch_and_batches_differ():
    first, second = windows(moved(0, 256)), windows(moved(1, 256))
    assert len(set(first)) > 40  # of 60
    assert first != second


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_the_key_alone_decides(seed):
    np.testing.assert_array_equal(moved(seed), moved(seed))


def test_an_example_does_not_depend_on_its_neighbours():
    batch = coordinates(4)
    others = np.random.default_rng(0).integers(0, 256, batch.shape, np.uint8)
    others[2] = batch[2]
    key = jax.random.key(5)
    one, other = (augment({"input": x}, key, size=CROP, mirror=True)["input"] for x in (batch, others))
    np.testing.assert_array_equal(one[2], other[2])


def test_nothing_to_crop_nor_to_mirror_leaves_the_image():
    batch = {"input": coordinates(2)}
    result = augment(batch, jax.random.key(0), size=SIZE, mirror=False)
    np.testing.assert_array_equal(from_float(result["input"]), batch["input"])


def test_images_of_a_pair_may_differ_in_channels():
    batch = {"input": coordinates(4)[..., :1], "target": coordinates(4)}
    result = augment(batch, jax.random.key(0), size=CROP, mirror=True)
    np.testing.assert_array_equal(result["input"][..., 0], result["target"][..., 0])


def test_uint8_survives_the_way_to_float_and_back():
    values = jnp.arange(256).astype(jnp.uint8)
    floats = to_float(values)
    assert floats.dtype == jnp.float32 and floats[0] == -1 and floats[255] == 1
    np.testing.assert_array_equal(from_float(floats), values)


@pytest.mark.parametrize(("value", "byte"), [(-1.5, 0), (1.5, 255), (0.0039, 128), (-0.0041, 127)])
def test_from_float_rounds_and_clips(value, byte):
    assert int(from_float(jnp.array(value))) == byte
