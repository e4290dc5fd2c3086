"""What `config.augment` adds to crop and mirror."""

import colorsys
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2pix_jax.data import augment as augment_module
from pix2pix_jax.data.augment import Augmentation, crop_and_mirror, to_float

SIZE = (24, 24)
OPERATIONS = {
    **{"rot90": True, "flip_vertical": True, "rotate_degrees": 20.0, "scale": 0.2, "brightness": 0.2},
    **{"contrast": 0.3, "saturation": 0.4, "hue": 0.1, "blur": 1.0, "noise": 0.1},
}
GEOMETRIC = ("rot90", "flip_vertical", "rotate_degrees", "scale")
STATIC = ("size", "mirror", "more", "nearest")
augment = jax.jit(crop_and_mirror, static_argnames=STATIC)
# As users' programs are compiled, which the other tests' are not (conftest.py): values are computed again where they
# are used, and rounded otherwise.
XLAS_OWN = {"xla_backend_optimization_level": 3}
if "xla_cpu_use_fusion_emitters" in os.environ["XLA_FLAGS"]:
    XLAS_OWN["xla_cpu_use_fusion_emitters"] = True
optimised = jax.jit(crop_and_mirror, static_argnames=STATIC, compiler_options=XLAS_OWN)


def smooth(n: int = 6, side: int = 32) -> np.ndarray:
    """uint8 (n, side, side, 3) of gentle waves, so that resampling loses little."""
    rows, columns = np.mgrid[:side, :side] / side
    waves = [np.sin(3 * rows + i + c) + np.cos(4 * columns - i * c) for i in range(n) for c in range(3)]
    return np.moveaxis(np.reshape(waves, (n, 3, side, side)) * 60 + 127, 1, -1).astype(np.uint8)


def apply(batch, seed=0, *, mirror=False, size=SIZE, **options):
    nearest = options.pop("nearest", ())
    more = Augmentation(**options)
    return augment(batch, jax.random.key(seed), size=size, mirror=mirror, more=more, nearest=nearest)


def operations(**options) -> str:
    def function(batch, key):
        return crop_and_mirror(batch, key, size=SIZE, mirror=True, more=Augmentation(**options))

    shapes = {name: jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.uint8) for name in ("input", "target")}
    return str(jax.make_jaxpr(function)(shapes, jax.random.key(0)))


def test_off_adds_no_operation_and_each_switch_adds_its_own():
    plain = operations()
    assert not any(f" {name}[" in plain or f" {name} " in plain for name in ("conv_general_dilated", "sin", "erf_inv"))
    assert plain == operations(**{name: type(value)(0) for name, value in OPERATIONS.items()})
    programs = {name: operations(**{name: value}) for name, value in OPERATIONS.items()}
    assert len({plain, *programs.values()}) == 1 + len(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_changes_its_images_by_the_key_alone_and_each_example_otherwise(name):
    image = np.stack([smooth()[0]] * 6)
    batch = {"input": image, "target": image}
    size = (32, 32)
    plain = to_float(image)
    changed = apply(batch, size=size, **{name: OPERATIONS[name]})
    assert np.abs(changed["input"] - plain).max() > 0.01
    np.testing.assert_array_equal(changed["input"], apply(batch, size=size, **{name: OPERATIONS[name]})["input"])
    if name in GEOMETRIC:  # both alike
        np.testing.assert_array_equal(changed["input"], changed["target"])
    else:
        np.testing.assert_allclose(changed["target"], plain, atol=1e-6)
    assert len({np.asarray(x).tobytes() for x in changed["input"]}) > 1
    assert np.abs(changed["input"]).max() <= 1 + 1e-5
    other = apply(batch, 1, size=size, **{name: OPERATIONS[name]})
    assert (np.asarray(other["input"]) != np.asarray(changed["input"])).any()


def test_one_switch_does_not_move_what_another_draws():
    batch = {"input": smooth(), "target": smooth()}
    crops = apply(batch, mirror=True)["target"]
    np.testing.assert_array_equal(apply(batch, mirror=True, noise=0.1, hue=0.1, blur=1.0)["target"], crops)


def test_quarter_turns_and_flips_keep_every_pixel():
    batch = {"input": smooth(32)}
    plain = np.asarray(apply(batch)["input"])
    turned = np.asarray(apply(batch, rot90=True)["input"])
    flipped = np.asarray(apply(batch, flip_vertical=True)["input"])
    turns = [next(k for k in range(4) if (np.rot90(p, k) == t).all()) for p, t in zip(plain, turned, strict=True)]
    flips = [
        next(k for k in range(2) if (f == (p[::-1] if k else p)).all()) for p, f in zip(plain, flipped, strict=True)
    ]
    assert set(turns) == {0, 1, 2, 3} and set(flips) == {0, 1}


def test_a_tiny_turn_is_the_crop_itself():
    """Rotation and zoom read around the very window that the crop would have taken."""
    batch = {"input": smooth()}
    np.testing.assert_allclose(apply(batch, rotate_degrees=1e-5)["input"], apply(batch)["input"], atol=1e-3)
    np.testing.assert_allclose(apply(batch, scale=1e-7)["input"], apply(batch)["input"], atol=1e-3)


def test_a_turn_is_by_an_angle_within_its_bounds():
    """A straight edge through the middle stays straight, and its slope is the angle."""
    edge = np.zeros((64, 33, 33, 1), np.uint8)
    edge[:, 17:] = 255
    turned = np.asarray(apply({"input": edge}, size=(33, 33), rotate_degrees=20.0)["input"])[..., 0]
    heights = (turned < 0).sum(axis=1)  # of the dark part, by column
    angles = np.degrees(np.arctan((heights[:, 24] - heights[:, 8]) / 16))
    assert np.abs(angles).max() < 24 and angles.min() < -12 and angles.max() > 12


def test_label_maps_stay_labels():
    labels = np.random.default_rng(0).choice([0, 100, 255], (4, 32, 32, 1)).astype(np.uint8)
    result = apply({"input": labels, "target": smooth(4)}, rotate_degrees=30.0, scale=0.3, nearest=("input",))
    values = np.asarray(to_float(np.array([0, 100, 255], np.uint8)))
    assert np.abs(np.asarray(result["input"])[..., None] - values).min(axis=-1).max() < 1e-6


def test_borders_are_mirrored_and_blur_does_not_darken_them():
    white = np.full((4, 32, 32, 3), 255, np.uint8)
    for name in ("rotate_degrees", "scale", "blur"):
        np.testing.assert_allclose(apply({"input": white}, **{name: OPERATIONS[name]})["input"], 1, atol=1e-5)


def test_photometric_changes_do_what_they_are_called():
    batch = {"input": smooth(64)}
    plain = np.asarray(apply(batch)["input"])
    shift = (np.asarray(apply(batch, brightness=0.1)["input"]) - plain).mean(axis=(1, 2, 3)) / 2
    assert -0.1 <= shift.min() < -0.05 and 0.05 < shift.max() <= 0.1
    ratio = np.asarray(apply(batch, contrast=0.3)["input"]).std(axis=(1, 2)) / plain.std(axis=(1, 2))
    assert 0.68 < ratio.min() < 0.85 and 1.1 < ratio.max() < 1.31
    noise = np.asarray(apply(batch, noise=0.05)["input"]) - plain
    assert noise.std() == pytest.approx(0.05, rel=0.1)
    grey = np.asarray(apply({"input": smooth(4)[..., :1].repeat(3, -1)}, saturation=0.5, hue=0.3)["input"])
    np.testing.assert_allclose(grey[..., 0], grey[..., 2], atol=1e-5)  # grey has neither


def by_colorsys(image: np.ndarray, *, hue: float = 0.0, saturation: float = 1.0) -> np.ndarray:
    """(N, C) in [-1, 1], its hue turned and its saturation multiplied."""

    def changed(pixel):
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        return colorsys.hsv_to_rgb((h + hue) % 1, min(s * saturation, 1.0), v)

    return np.array([changed(pixel) for pixel in (image.astype(float) + 1) / 2]) * 2 - 1


MIDDLES = {"hue": 0.0, "saturation": 1.0}
MOVED = {"rotate_degrees": 20.0, "scale": 0.2}


def drawn(name: str, key: jax.Array) -> float:
    """By how much an example's hue or saturation is changed, where the config says 0.4."""
    operation = {"hue": augment_module._HUE, "saturation": augment_module._SATURATION}[name]
    key = jax.random.fold_in(key, operation)
    return float(jax.random.uniform(key, minval=MIDDLES[name] - 0.4, maxval=MIDDLES[name] + 0.4))


@pytest.mark.parametrize("name", MIDDLES)
def test_colours_of_resampled_pictures_are_those_of_colorsys_when_optimised(name):
    batch, key, size = {"input": smooth(4, 64)}, jax.random.key(0), (48, 48)
    before, after = (
        np.asarray(optimised(batch, key, size=size, mirror=False, more=more)["input"]).reshape(4, -1, 3)
        for more in (Augmentation(**MOVED), Augmentation(**MOVED, **{name: 0.4}))
    )
    for i, example_key in enumerate(jax.random.split(key, 4)):
        desired = by_colorsys(before[i], **{name: drawn(name, example_key)})
        np.testing.assert_allclose(after[i], desired, atol=1e-4)


@pytest.mark.parametrize("name", MIDDLES)
def test_colours_whose_channels_are_equal(name):
    """Grey, black, white and the borders of hue's sectors, where a branch could go either way."""
    colours = np.array([[a, b, c] for a in (0, 128, 255) for b in (0, 128, 255) for c in (0, 127, 128, 255)], np.uint8)
    image = np.broadcast_to(colours[None, :, None], (1, len(colours), 4, 3))
    key, more = jax.random.key(3), Augmentation(**{name: 0.4})
    after = optimised({"input": image}, key, size=image.shape[1:3], mirror=False, more=more)["input"]
    desired = by_colorsys(colours / 127.5 - 1, **{name: drawn(name, jax.random.split(key, 1)[0])})
    np.testing.assert_allclose(after[0, :, 0], desired, atol=1e-5)


def test_the_mesh_does_not_change_colours_when_optimised():
    batch, more = {"input": smooth(8)}, Augmentation(**MOVED, hue=0.1, saturation=0.4)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(batch, jax.NamedSharding(mesh, jax.P("data")))
    alone, together = (
        optimised(images, jax.random.key(0), size=SIZE, mirror=False, more=more)["input"] for images in (batch, spread)
    )
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_mesh_does_not_change_augmentation():
    batch = {"input": smooth(8), "target": smooth(8)}
    alone = apply(batch, mirror=True, **OPERATIONS)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(batch, jax.NamedSharding(mesh, jax.P("data")))
    for name, image in apply(spread, mirror=True, **OPERATIONS).items():
        np.testing.assert_allclose(image, alone[name], atol=1e-5)
    for name, image in apply(spread, mirror=True, rot90=True, flip_vertical=True).items():
        np.testing.assert_array_equal(image, apply(batch, mirror=True, rot90=True, flip_vertical=True)[name])
