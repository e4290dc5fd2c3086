"""The embedded data set: pure in (seed, index, size), in the published palette, and learnable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pix2pix_jax.data.sources.drawn_facades.draw import LABELS, draw_pair

PALETTE = np.array(list(LABELS.values()))
NAMES = list(LABELS)


def label_numbers(labels: np.ndarray) -> np.ndarray:
    """(H, W, 3) colours as (H, W) positions in the palette; fails on any other colour."""
    match = (labels[:, :, None] == PALETTE).all(-1)
    assert match.any(-1).all(), "a colour that is not in the palette"
    return match.argmax(-1)


@pytest.fixture(scope="module")
def examples() -> list[tuple[np.ndarray, np.ndarray]]:
    """200 pairs as (photo, label numbers)."""
    pairs = (draw_pair(0, index, (64, 64)) for index in range(200))
    return [(photo, label_numbers(labels)) for photo, labels in pairs]


def test_palette_is_that_of_the_published_set():
    assert LABELS == {
        "background": (0, 0, 223),
        "facade": (0, 48, 255),
        "window": (0, 128, 255),
        "door": (0, 207, 255),
        "cornice": (32, 255, 223),
        "sill": (112, 255, 143),
        "balcony": (192, 255, 64),
        "blind": (255, 239, 0),
        "deco": (255, 159, 0),
        "molding": (255, 80, 0),
        "pillar": (255, 0, 0),
        "shop": (175, 0, 0),
    }


def test_a_pair_depends_on_its_arguments_alone():
    first = draw_pair(3, 5, (64, 96))
    draw_pair(1, 1, (40, 40))
    second = draw_pair(3, 5, (64, 96))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("other", [(0, 1), (1, 0)])
def test_other_seeds_and_indices_are_other_buildings(other):
    for one, two in zip(draw_pair(0, 0, (64, 64)), draw_pair(*other, (64, 64)), strict=True):
        assert (one != two).any(-1).mean() > 0.1


def test_no_two_of_many_examples_are_alike(examples):
    assert len({labels.tobytes() for _, labels in examples}) == len(examples)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**63),
    index=st.integers(0, 2**40),
    height=st.integers(32, 160),
    width=st.integers(32, 160),
)
def test_any_size_gives_a_photo_and_palette_colours(seed, index, height, width):
    photo, labels = draw_pair(seed, index, (height, width))
    for image in (photo, labels):
        assert image.shape == (height, width, 3)
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        assert image.flags.writeable
    assert {"facade", "window"} <= {NAMES[number] for number in np.unique(label_numbers(labels))}
    assert photo.std() > 15


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), index=st.integers(0, 1000))
def test_the_building_is_the_same_at_every_size(seed, index):
    small = draw_pair(seed, index, (64, 64))
    large = draw_pair(seed, index, (128, 128))
    np.testing.assert_array_equal(large[1][::2, ::2], small[1])
    odd = draw_pair(seed, index, (96, 80))[1]
    # Edges are rounded to other pixels: each label is found where it should be, or beside it.
    around = np.pad(small[1], ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows, columns = np.arange(96) * 64 // 96, np.arange(80) * 64 // 80
    shifted = [around[rows[:, None] + down, columns + right] for down in range(3) for right in range(3)]
    assert np.any([(odd == labels).all(-1) for labels in shifted], axis=0).all()
    averaged = large[0].reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(averaged - small[0]).mean() < 10


def test_every_label_appears_and_wall_and_background_dominate(examples):
    counts = sum(np.bincount(labels.ravel(), minlength=len(NAMES)) for _, labels in examples)
    shares = dict(zip(NAMES, counts / counts.sum(), strict=True))
    assert min(shares.values()) > 0.002
    assert sorted(shares, key=shares.get)[-2:] == ["background", "facade"]
    assert shares["background"] + shares["facade"] > 0.5
    assert 0.05 < shares["window"] < 0.2


@pytest.mark.parametrize("label", ["background", "window", "door", "blind", "balcony", "shop"])
def test_the_labels_tell_the_picture(examples, label):
    """A label's pixels are of another colour than the wall's in nearly every picture."""
    number, wall = NAMES.index(label), NAMES.index("facade")
    differences = [
        np.abs(photo[labels == number].mean(0) - photo[labels == wall].mean(0)).max()
        for photo, labels in examples
        if (labels == number).sum() > 20
    ]
    assert len(differences) > 20
    assert np.mean(np.array(differences) > 15) > 0.85


@pytest.mark.parametrize("size", [(31, 64), (64, 31)])
def test_too_small_a_side_is_refused(size):
    with pytest.raises(ValueError, match="below 32"):
        draw_pair(0, 0, size)


def test_a_negative_index_is_refused():
    with pytest.raises(ValueError, match="non-negative"):
        draw_pair(0, -1, (64, 64))
