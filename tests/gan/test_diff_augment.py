"""Differentiable augmentation: what each policy does to a pair, and that gradients come back through it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2pix_jax.gan.diff_augment import POLICIES, diff_augment

SIDES = (16, 24)


def change(*policies, seed=0, count=4, channels=3):
    """Returns random pairs and what they become: (image, candidate, changed image, changed candidate)."""
    random = np.random.default_rng(seed)
    image, candidate = (jnp.asarray(random.uniform(-1, 1, (count, *SIDES, n)), jnp.float32) for n in (2, channels))
    changed = jax.jit(lambda *pair: diff_augment(*pair, jax.random.key(seed), policies))(image, candidate)
    return image, candidate, *changed


def test_none():
    image, candidate, *changed = change()
    np.testing.assert_array_equal(changed[0], image)
    np.testing.assert_array_equal(changed[1], candidate)


@pytest.mark.parametrize("seed", range(4))
def test_translation_moves_both_images_alike_and_leaves_zeros(seed):
    *pair, image, candidate = map(np.asarray, change("translation", seed=seed))
    both, moved = np.concatenate(pair, -1), np.concatenate([image, candidate], -1)
    shifts = set()
    for before, after in zip(both, moved, strict=True):
        padded = np.pad(before, ((2, 2), (3, 3), (0, 0)))  # an eighth of the sides
        places = [(y, x) for y in range(5) for x in range(7)]
        found = [(y, x) for y, x in places if np.array_equal(padded[y : y + SIDES[0], x : x + SIDES[1]], after)]
        assert len(found) == 1
        shifts.update(found)
    assert len(shifts) > 1  # each pair its own


@pytest.mark.parametrize("seed", range(4))
def test_cutout_blanks_the_same_square_of_both(seed):
    *pair, image, candidate = map(np.asarray, change("cutout", seed=seed, count=16))
    blank = (image == 0).all(-1)
    np.testing.assert_array_equal(blank, (candidate == 0).all(-1))
    np.testing.assert_array_equal(np.where(blank[..., None], 0, pair[1]), candidate)
    sizes = [(square.any(1).sum(), square.any(0).sum()) for square in blank]
    assert all(square.sum() == height * width for square, (height, width) in zip(blank, sizes, strict=True))
    assert max(sizes) == (SIDES[0] // 2, SIDES[1] // 2)  # whole, where its centre is not near the border
    assert len(set(sizes)) > 1


def test_color_scales_about_grey_and_mean_and_shifts():
    """Reconstructed from three unknowns of each picture, by least squares."""
    image, before, unchanged, after = map(np.asarray, change("color", count=8))
    np.testing.assert_array_equal(unchanged, image)
    for x, y in zip(before.astype(np.float64), after.astype(np.float64), strict=True):
        grey = x.mean(-1, keepdims=True)
        colour, light = (x - grey).ravel(), np.broadcast_to(grey - x.mean(), x.shape).ravel()
        basis = np.stack([colour, light, np.ones_like(colour)], 1)
        (a, b, c), residual, *_ = np.linalg.lstsq(basis, y.ravel(), rcond=None)
        assert residual.item() < 1e-9
        assert 0.5 <= b <= 1.5  # contrast
        assert 0 <= a / b <= 2  # saturation
        assert abs(c - x.mean()) <= 0.5  # brightness


def test_the_key_alone_decides():
    first, again, other = (change(*POLICIES, seed=seed)[2:] for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first[1], other[1])


def test_grey_pictures_and_gradients():
    """A gradient comes back to the pixels that the discriminator sees, moved and scaled."""
    image, candidate, *_ = change(channels=1)

    def seen(candidate):
        return diff_augment(image, candidate, jax.random.key(0), POLICIES)[1].sum()

    gradient = np.asarray(jax.grad(seen)(candidate))
    assert np.isfinite(gradient).all()
    assert (gradient != 0).any((1, 2, 3)).all()
