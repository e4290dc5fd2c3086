"""The library: what `load(workdir).translate(array)` takes and returns, and the examples of README and docs."""

import os
import subprocess
import sys
import warnings

import absl.logging
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image

import pix2pix_jax
from pix2pix_jax.errors import UserError


@pytest.fixture(scope="module")
def model(trained):
    return pix2pix_jax.load(trained)


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


def test_the_parameters_are_those_of_the_checkpoint(model, trained):
    assert model.step == 6
    stored = ocp.StandardCheckpointer().restore(trained.resolve() / "checkpoints" / "6" / "state")
    for collection in ("params", "batch_stats"):
        jax.tree.map(np.testing.assert_array_equal, model.variables[collection], stored["generator"][collection])
    earlier = pix2pix_jax.load(trained, step=3)
    assert earlier.step == 3
    assert not np.array_equal(
        earlier.variables["params"]["down0"]["kernel"], model.variables["params"]["down0"]["kernel"]
    )
    with pytest.raises(UserError, match="--step=4.*3, 6"):
        pix2pix_jax.load(trained, step=4)


def test_bytes_in_bytes_out(model, pictures):
    fakes = model.translate(pictures)
    assert fakes.shape == pictures.shape and fakes.dtype == np.uint8
    assert len({fake.tobytes() for fake in fakes}) == 3
    alone = model.translate(pictures[1])
    assert alone.shape == (32, 32, 3) and alone.dtype == np.uint8
    assert np.abs(alone.astype(int) - fakes[1]).max() <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("size", [(32, 32), (40, 27)])
def test_floats_in_floats_out_and_the_same_picture(model, dtype, size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    image = np.kron(image[::8, ::8], np.ones((8, 8, 1), np.uint8))[: size[0], : size[1]]
    fake = model.translate((image.astype(np.float64) / 127.5 - 1).astype(dtype))
    assert fake.shape == image.shape and fake.dtype == np.float32 and np.abs(fake).max() <= 1
    levels = (fake + 1) * 127.5
    assert np.abs(levels - model.translate(image)).max() <= 2


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_other_sizes_come_back_in_their_own(model, dtype):
    batch = np.zeros((2, 45, 70, 3), dtype)
    fakes = model.translate(batch)
    assert fakes.shape == batch.shape and fakes.dtype == dtype
    np.testing.assert_array_equal(model.translate(batch[0]).shape, (45, 70, 3))


def test_more_pictures_than_a_batch(model):
    many = np.random.default_rng(2).integers(0, 256, (model.batch_size + 1, 32, 32, 3), np.uint8)
    fakes = model.translate(many)
    assert fakes.shape == many.shape
    assert np.abs(model.translate(many[-1]).astype(int) - fakes[-1]).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_no_pictures(model, dtype):
    fakes = model.translate(np.zeros((0, 32, 32, 3), dtype))
    assert fakes.shape == (0, 32, 32, 3) and fakes.dtype == dtype


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((32, 32), np.uint8), r"\(32, 32\)"),
        (np.zeros((1, 1, 32, 32, 3), np.uint8), r"\(N, H, W, 3\)"),
        (np.zeros((32, 32, 1), np.uint8), r"\(32, 32, 1\)"),
        (np.zeros((2, 32, 32, 4), np.uint8), r"\(2, 32, 32, 4\)"),
        (np.zeros((32, 32, 3), np.int32), "int32"),
        (np.zeros((32, 32, 3), bool), "bool"),
        (np.zeros((32, 32, 3), np.complex64), "complex64"),
    ],
)
def test_what_is_no_picture(model, images, words):
    with pytest.raises(ValueError, match=words):
        model.translate(images)


@pytest.mark.parametrize("size", [(32, 32), (40, 27)])
def test_paths_and_pil_images(model, tmp_path, size):
    pixels = np.random.default_rng(4).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    expected = model.translate(pixels, seed=1)
    assert expected.shape == pixels.shape
    of_path = model.translate(tmp_path / "picture.png", seed=1)
    assert isinstance(of_path, np.ndarray) and of_path.dtype == np.uint8
    np.testing.assert_array_equal(of_path, expected)
    of_pil = model.translate(Image.open(tmp_path / "picture.png"), seed=1)
    assert isinstance(of_pil, Image.Image) and of_pil.mode == "RGB"
    np.testing.assert_array_equal(of_pil, expected)


def test_arrays_of_jax(model, pictures):
    np.testing.assert_array_equal(model.translate(jnp.asarray(pictures)), model.translate(pictures))
    floats = jnp.asarray(pictures, jnp.float32) / 127.5 - 1
    fake = model.translate(floats.astype(jnp.bfloat16))
    assert isinstance(fake, np.ndarray) and fake.dtype == np.float32 and np.abs(fake).max() <= 1


def test_floats_outside_the_range_are_refused(model):
    with pytest.raises(ValueError, match="from 0 to 255: floating ones must be in"):
        model.translate(np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3))
    with pytest.raises(ValueError, match="NaN or infinity"):
        model.translate(np.full((32, 32, 3), np.nan))


def test_a_model_shows_one_line(model):
    number = sum(leaf.size for leaf in jax.tree.leaves(model.variables["params"]))
    assert repr(model) == (
        f"TrainedModel(step=6, generator=unet, {number:,} parameters, image_size=(32, 32), 3 -> 3 channels)"
    )


def test_load_prints_nothing(trained, capfd, caplog):
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.WARNING)  # as in a user's process; other tests run the command line
    with warnings.catch_warnings(action="error"):
        pix2pix_jax.load(trained)
    assert absl.logging.get_verbosity() == absl.logging.WARNING
    absl.logging.set_verbosity(verbosity)
    assert not caplog.records and capfd.readouterr() == ("", "")


_USE = """
import sys
import jax
import numpy as np
import pix2pix_jax

if sys.argv[2:]:
    jax.config.update("jax_compilation_cache_dir", sys.argv[2])
jax.jit(lambda x: x + 1)(0)  # a notebook has compiled something before
model = pix2pix_jax.load(sys.argv[1])
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event.rpartition("/")[-1]))
model.translate(np.zeros((32, 32, 3), np.uint8))
assert ("cache_misses" if sys.argv[2:] else "cache_hits") in events, events
assert sys.argv[2:] or "cache_misses" not in events, events
"""


@pytest.mark.heavy
def test_a_process_of_its_own_is_silent_and_uses_what_the_command_line_compiled(trained, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

    def run(*command):
        done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    kept, own = tmp_path / "pix2pix_jax" / "xla", tmp_path / "own"
    assert run("-W", "default", "-c", _USE, trained, own) == ""  # compiles, into the place that the user has given
    assert any(own.glob("jit_translate_by_id-*")) and not kept.exists()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "black.png")
    flags = (f"--workdir={trained}", f"--input={tmp_path / 'black.png'}", f"--output={tmp_path / 'out'}")
    run("-m", "pix2pix_jax", "translate", *flags)
    assert any(kept.glob("jit_translate_by_id-*"))
    assert run("-W", "default", "-c", _USE, trained) == ""
