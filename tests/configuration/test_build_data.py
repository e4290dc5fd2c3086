"""Runs on data of other kinds, from files to translations: 16 bits, floats, stacks of channels."""

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.configuration import build_data
from pix2pix_jax.data.files import images
from pix2pix_jax.errors import UserError
from pix2pix_jax.evaluation import evaluate
from pix2pix_jax.inference import trained_model, translate
from pix2pix_jax.runtime import meshes
from pix2pix_jax.training import train


def blocks(seed, channels):
    """(40, 40, channels) in [0, 1]."""
    return np.kron(np.random.default_rng(seed).random((5, 5, channels)), np.ones((8, 8, 1)))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders rgb (16 bits), depth (16 bits) and height (float32, -2 to 5), with train and val."""
    root = tmp_path_factory.mktemp("data")
    for split, count in (("train", 4), ("val", 2)):
        for name in ("rgb", "depth", "height"):
            (root / name / split).mkdir(parents=True)
        for i in range(count):
            rgb, depth = (blocks(i, 3) * 65535).astype(np.uint16), (blocks(i, 1)[..., 0] * 65535).astype(np.uint16)
            (root / "rgb" / split / f"{i}.png").write_bytes(imagecodecs.png_encode(rgb))
            tifffile.imwrite(root / "depth" / split / f"{i}.tif", depth, compression="zlib")
            height = (blocks(i, 2) * 7 - 2).astype(np.float32)
            np.save(root / "height" / split / f"{i}.npy", height)
    return root


@pytest.fixture(scope="module")
def flags(data):
    return (
        *("--config.dataset=folder", f"--config.data_dir={data}", "--config.direction=AtoB", "--config.num_steps=2"),
        *("--config.a_folders=rgb,depth", "--config.b_folders=height"),
        *("--config.input_channels=4", "--config.target_channels=2"),
    )


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, tiny_config, flags):
    workdir = tmp_path_factory.mktemp("streams") / "run"
    train.train(tiny_config(*flags, "--config.target_range=-2,5"), workdir)
    return workdir


@pytest.fixture(scope="module")
def model(workdir):
    model = trained_model.load(workdir)
    vars(model).update(batch_size=1, mesh=meshes.make_mesh(batch_size=1, data=1))
    return model


def test_the_resolved_dtypes_are_in_the_checkpoint(model, workdir):
    assert (model.config.input_dtype, model.config.target_dtype) == ("uint16", "float32")
    assert model.config.target_range == (-2, 5) and model.config.a_folders == ("rgb", "depth")
    assert Image.open(workdir / "samples" / "000002.png").size == (3 * 34 - 2, 2 * 34 - 2)


def test_the_same_command_goes_on(workdir, tiny_config, flags, capsys):
    train.train(tiny_config(*flags, "--config.target_range=-2,5"), workdir)
    assert "already at step 2" in capsys.readouterr().out


def test_floats_need_a_range(tiny_config, flags, tmp_path):
    with pytest.raises(UserError, match=r"the first 4 files from -1\.\d+ to 4\.\d+.*--config\.target_range=-1\.") as e:
        train.train(tiny_config(*flags), tmp_path / "run")
    assert "\n" not in str(e.value) and not (tmp_path / "run").exists()


def test_channels_are_checked_before_anything_is_written(tiny_config, flags, tmp_path):
    for override, words in (("input_channels=3", "has 4 channels"), ("target_channels=5", "has 2 channels")):
        with pytest.raises(UserError, match=words):
            train.train(tiny_config(*flags, "--config.target_range=-2,5", f"--config.{override}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_library_takes_and_answers_the_dtypes_of_the_data(model):
    stack = (blocks(7, 4) * 65535).astype(np.uint16)
    height = model.translate(stack)
    assert height.shape == (40, 40, 2) and height.dtype == np.float32
    assert height.min() >= -2 and height.max() <= 5 and height.min() < 1 < height.max()
    normalised = model.translate(stack / 32767.5 - 1)
    np.testing.assert_allclose((height + 2) / 3.5 - 1, normalised, atol=2e-3)
    for other in (np.uint8, np.int32):
        with pytest.raises(ValueError, match="must be uint16, or floating"):
            model.translate(stack.astype(other))


def test_evaluation(model, workdir):
    result = evaluate.evaluate(model, workdir)
    assert len(result.images) == 2 and 0 < result.mean["l1"] < 2 and result.mean["psnr"] > 0
    pictures = sorted((result.folder / "images").iterdir())
    assert len(pictures) == 6 and all(Image.open(path).mode == "RGB" for path in pictures)


def test_the_metrics_are_those_of_the_values(model, workdir, data):
    result = evaluate.evaluate(model, workdir, output=str(workdir / "again"))
    pairs = build_data.open_pairs(model.config, "val")
    example = pairs[0]
    assert example["input"].dtype == np.uint16 and example["target"].dtype == np.float32
    difference = np.abs(model.translate(example["input"]) - example["target"].clip(-2, 5)).mean() / 3.5
    assert result.images[0]["l1"] == pytest.approx(difference, rel=1e-3)


def test_files_of_stacks(model, data, tmp_path):
    root = tmp_path / "new"
    for name in ("rgb", "depth"):
        (root / name).mkdir(parents=True)
        for path in (data / name / "val").iterdir():
            (root / name / path.name).write_bytes(path.read_bytes())
    written = translate.translate_files(model, str(root), tmp_path / "out")
    assert [path.name for path in written] == ["0.tif", "1.tif"]  # two channels of floats
    stack = np.concatenate([images.decode(root / f, "x", None, None) for f in ("rgb/0.png", "depth/0.tif")], axis=-1)
    np.testing.assert_allclose(images.decode(written[0], "x", None, None), model.translate(stack), atol=1e-3)
    with pytest.raises(UserError, match=r"--input=.*must hold the folders rgb, depth, and lacks rgb"):
        translate.translate_files(model, str(root / "rgb"), tmp_path / "out2")


@pytest.fixture(scope="module")
def deep_model(tmp_path_factory, tiny_config):
    """Trained on side-by-side PNGs of 16 bits."""
    folder = tmp_path_factory.mktemp("deep")
    for i in range(4):
        pair = (np.concatenate([blocks(i, 3), blocks(i + 9, 3)], axis=1) * 65535).astype(np.uint16)
        (folder / f"{i}.png").write_bytes(imagecodecs.png_encode(pair))
    config = tiny_config("--config.dataset=folder", f"--config.data_dir={folder}", "--config.num_steps=1")
    train.train(config, folder / "run")
    model = trained_model.load(folder / "run")
    vars(model).update(batch_size=1, mesh=meshes.make_mesh(batch_size=1, data=1))
    return model


@pytest.mark.parametrize(
    ("name", "dtype", "result"),
    [
        ("a.png", np.uint16, "a.png"),
        ("a.jpg", np.uint8, "a.png"),
        ("a.tiff", np.uint16, "a.tiff"),
        ("a.tif", np.uint8, "a.tif"),
        ("a.npy", np.uint16, "a.npy"),
    ],
)
def test_results_are_of_the_kind_of_their_files(deep_model, tmp_path, name, dtype, result):
    pixels = (blocks(3, 3) * np.iinfo(dtype).max).astype(dtype)
    source = tmp_path / name
    source.write_bytes(images.encode(pixels, ".png" if name == "a.jpg" else source.suffix))
    [written] = translate.translate_files(deep_model, str(source), tmp_path / "out")
    assert written.name == result
    stored = images.decode(written, "x", None, None)
    assert stored.dtype == np.uint16 and stored.shape == (40, 40, 3)
    start = {".png": b"\x89PNG", ".npy": b"\x93NUMPY"}.get(written.suffix, b"II*\0")
    assert written.read_bytes().startswith(start)
    deep = pixels if dtype == np.uint16 else pixels.astype(np.uint16) * 257
    assert np.abs(stored.astype(int) - deep_model.translate(deep)).max() <= 257
    assert (stored % 257 != 0).any()  # 16 bits, not 8 of them


def test_floats_for_a_model_of_integers_are_refused(deep_model, tmp_path):
    np.save(tmp_path / "x.npy", blocks(0, 3))
    with pytest.raises(UserError, match=r"x\.npy: holds floating-point values, where uint16 is expected"):
        translate.translate_files(deep_model, str(tmp_path / "x.npy"), tmp_path / "out")


def test_a_checkpoint_without_resolved_dtypes_is_of_8_bits(trained):
    """As an imported one, which has seen no data; and it may be trained on with data of any dtype."""
    config = trained_model.load(trained).config
    old = config_lib.from_dict(config_lib.to_dict(config) | {"input_dtype": "auto"})
    assert build_data.stream_values(old)["input"].dtype == "uint8"
    assert config_lib.differences(old, config) == []
    assert config_lib.differences(config, old) == ["config.input_dtype: uint8 -> auto"]
