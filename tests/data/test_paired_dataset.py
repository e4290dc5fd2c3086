"""How training pairs get their size, under every mode of `config.preprocess`."""

import numpy as np
import pytest
from PIL import Image

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.configuration import build_data
from pix2pix_jax.data.files.high_bit_depth import Header
from pix2pix_jax.data.paired_dataset import PairedDataset
from pix2pix_jax.errors import UserError


class Sized:
    """Pairs of the given sizes (H, W): A holds its columns, B 255 less that."""

    def __init__(self, *sizes):
        self.names, self.sizes = [f"{i}.png" for i in range(len(sizes))], sizes

    def header(self, index):
        return Header(self.sizes[index]), Header(self.sizes[index])

    def pair(self, index, channels):
        height, width = self.sizes[index]
        columns = np.tile(np.arange(width, dtype=np.uint8), (height, 1))[..., None]
        return columns.repeat(channels[0], -1), 255 - columns.repeat(channels[1], -1)


def pairs(preprocess, *sizes, size=(16, 16), **options):
    return PairedDataset(Sized(*sizes), "AtoB", size, preprocess=preprocess, **options)


@pytest.mark.parametrize(
    ("preprocess", "own", "options", "loaded"),
    [
        ("resize_and_crop", (40, 30), {}, (16, 16)),
        ("crop", (40, 30), {}, (40, 30)),
        ("scale_width_and_crop", (40, 80), {"width": 20}, (16, 20)),  # at least as high as the crop
        ("scale_width_and_crop", (80, 40), {"width": 20}, (40, 20)),
        ("scale_width", (31, 62), {"width": 33, "multiple": 16, "size": (16, 32)}, (16, 32)),
        ("none", (23, 41), {"multiple": 16, "size": (16, 48)}, (16, 48)),
        ("none", (25, 39), {"multiple": 16, "size": (32, 32)}, (32, 32)),
    ],
)
def test_the_size_that_a_mode_gives(preprocess, own, options, loaded):
    example = pairs(preprocess, own, **options)[0]
    assert {image.shape for image in example.values()} == {(*loaded, 3)}


def test_windows_are_random_alike_for_both_and_depend_on_seed_and_position_alone():
    source = pairs("crop", (20, 40))
    example = source[0]
    lefts = []
    for position in range(200):
        window = source.window(example, seed=3, position=position)
        assert {image.shape for image in window.values()} == {(16, 16, 3)}
        np.testing.assert_array_equal(window["input"], 255 - window["target"])
        again = source.window(example, seed=3, position=position)
        np.testing.assert_array_equal(window["input"], again["input"])
        lefts.append(int(window["input"][0, 0, 0]))
    assert set(lefts) == set(range(25))  # to the last window
    other = [int(source.window(example, seed=4, position=p)["input"][0, 0, 0]) for p in range(200)]
    assert other != lefts


@pytest.mark.parametrize(
    ("preprocess", "sizes", "words"),
    [
        ("crop", [(16, 12)], ("0.png: 16x12", "image_size is 16x16", "resize_and_crop")),
        ("none", [(32, 32), (32, 32)], ("0.png: 32x32", "--config.image_size=32,32")),
        ("none", [(16, 16), (32, 48)], ("1.png: 32x48", "0.png is 16x16", "all must be alike")),
        ("scale_width", [(30, 40), (60, 40)], ("0.png: 32x32", "1.png is 64x32", "all must be alike")),
    ],
)
def test_sizes_that_do_not_do_are_named_in_one_line(preprocess, sizes, words):
    source = pairs(preprocess, *sizes, width=40, multiple=16)
    with pytest.raises(UserError) as caught:
        for index in range(len(source)):
            source[index]
    message = str(caught.value)
    assert all(word in message for word in words) and "\n" not in message, message


def test_the_config_chooses(tiny_config):
    def opened(*overrides):
        return build_data.open_training(tiny_config(*(f"--config.{override}" for override in overrides)))[1]

    assert opened().size == (36, 36) and opened()[0]["input"].shape == (36, 36, 3)
    assert opened("preprocess=crop").size == (32, 32) and opened("preprocess=crop")[0]["input"].shape == (36, 36, 3)
    assert opened("preprocess=none")[0]["input"].shape == (32, 32, 3)
    scaled = opened("preprocess=scale_width", "resize_size=36,30")
    assert (scaled.multiple, scaled.width, scaled.size) == (8, 30, (32, 32))
    assert scaled[0]["target"].shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("preprocess=squash",), ("config.preprocess: 'squash'", "scale_width_and_crop")),
        (("preprocess=crop", "data_residency=device"), ("config.data_residency: device", "auto or host")),
        (("preprocess=scale_width_and_crop", "resize_size=300,200"), ("config.resize_size: 300x200",)),
        (("augment.rot90=true", "image_size=256,512", "resize_size=256,512"), ("config.augment.rot90", "256x512")),
        (("augment.hue=0.6",), ("config.augment.hue: 0.6", "at most 0.5")),
        (("augment.scale=1",), ("config.augment.scale: 1.0", "below 1")),
        (("augment.saturation=0.1", "input_channels=1"), ("config.augment.saturation", "RGB")),
        (("augment.noise=0.1", "color_space=lab"), ("config.augment.noise", "colourisation")),
        (("num_workers=-2",), ("config.num_workers: -2", "at least -1")),
    ],
)
def test_refusals(overrides, words):
    with pytest.raises(UserError) as caught:
        config_lib.load("default", [f"--config.{override}" for override in overrides])
    message = str(caught.value)
    assert all(word in message for word in words) and "\n" not in message, message


def test_small_resize_size_does_not_matter_where_it_is_not_used():
    for preprocess in ("crop", "none", "scale_width"):
        config_lib.load("default", [f"--config.preprocess={preprocess}", "--config.resize_size=64,64"])


def test_evaluation_cuts_the_middle_at_the_scale_of_training(tiny_config, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 120, 3), np.uint8)
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        Image.fromarray(pixels).save(tmp_path / split / "0.png")
    folder = ("--config.dataset=folder", f"--config.data_dir={tmp_path}", "--config.direction=AtoB")
    held_out = build_data.open_pairs(tiny_config(*folder, "--config.preprocess=crop"), "val")
    np.testing.assert_array_equal(held_out[0]["input"], pixels[8:40, 14:46])
    np.testing.assert_array_equal(held_out[0]["target"], pixels[8:40, 74:106])


@pytest.mark.parametrize(
    ("preprocess", "own", "size"),
    [
        ("resize_and_crop", (100, 70), (32, 32)),
        ("crop", (100, 70), (96, 72)),  # the nearest multiples of 8
        ("none", (100, 70), (96, 72)),
        ("scale_width", (100, 72), (48, 32)),  # 50x36, the width of resize_size, rounded
        ("scale_width_and_crop", (10, 900), (8, 32)),
    ],
)
def test_whole_images_go_through_at_the_scale_of_training(tiny_config, preprocess, own, size):
    config = tiny_config(f"--config.preprocess={preprocess}")
    assert build_data.inference_size(config, own) == size
