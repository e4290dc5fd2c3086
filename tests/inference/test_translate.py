"""Files in, files out: which files, under which names, and that a picture's company does not change it."""

import copy
import dataclasses
import os
import types

import jax
import numpy as np
import pytest
from PIL import Image

from pix2pix_jax import cli
from pix2pix_jax.data.files import images
from pix2pix_jax.data.files.value_range import UINT8, from_float
from pix2pix_jax.errors import UserError
from pix2pix_jax.evaluation import evaluate
from pix2pix_jax.gan.train_step import make_translate_step
from pix2pix_jax.inference import trained_model, translate
from pix2pix_jax.models import UNetGenerator
from pix2pix_jax.runtime import meshes
from pix2pix_jax.training import samples


@pytest.fixture(scope="module")
def model(trained):
    model = trained_model.load(trained)
    vars(model).update(mesh=meshes.make_mesh(batch_size=1, data=1))  # cached_property keeps its value there
    return model


def write(path, *, size=(32, 32), mode="RGB", seed=0):
    """An image file of random blocks, `size` (H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, len(Image.new(mode, (1, 1)).getbands())), np.uint8)
    image = Image.fromarray(small.squeeze() if mode == "L" else small, mode=None)
    image.resize(size[::-1], Image.Resampling.NEAREST).save(path)
    return path


def read(path):
    return np.asarray(Image.open(path))


def listing(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_file_at_its_own_size(model, tmp_path):
    source = write(tmp_path / "in" / "photo.jpg", size=(45, 50))
    written = translate.translate_files(model, str(source), tmp_path / "out")
    assert [path.name for path in written] == ["photo.png"]
    with Image.open(tmp_path / "out" / "photo.png") as image:
        assert image.format == "PNG" and image.size == (50, 45) and image.mode == "RGB"
    np.testing.assert_array_equal(read(written[0]), model.translate(read(source)))


def test_a_folder_with_its_subfolders(model, tmp_path):
    for name in ("10.png", "2.PNG", "sub/a.jpg", "sub/deep/b.bmp", ".hidden.png"):
        write(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    written = translate.translate_files(model, str(tmp_path / "in"), tmp_path / "out")
    assert listing(tmp_path / "out") == ["10.png", "2.png", "sub/a.png", "sub/deep/b.png"]
    assert [path.name for path in written][:2] == ["2.png", "10.png"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.png", ["a.png"]),
        ("**/*.png", ["a.png", "b.png"]),
        ("sub/?.*", ["b.png", "c.png"]),
        ("*", ["a.png"]),
    ],
)
def test_a_glob(model, tmp_path, pattern, names):
    for name in ("a.png", "sub/b.png", "sub/c.jpg"):
        write(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    translate.translate_files(model, str(tmp_path / "in" / pattern), tmp_path / "out")
    assert listing(tmp_path / "out") == names


def test_a_glob_of_equal_names_is_refused(model, tmp_path):
    for name in ("x/a.png", "y/a.png"):
        write(tmp_path / "in" / name)
    with pytest.raises(UserError, match="same name in several folders"):
        translate.translate_files(model, str(tmp_path / "in" / "*" / "a.png"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_that_differ_in_their_ending_alone_both_survive(model, tmp_path):
    first = write(tmp_path / "in" / "a.jpg", seed=1)
    second = write(tmp_path / "in" / "a.png", seed=2)
    translate.translate_files(model, str(tmp_path / "in"), tmp_path / "out")
    assert listing(tmp_path / "out") == ["a.jpg.png", "a.png.png"]
    for source in (first, second):
        np.testing.assert_array_equal(read(tmp_path / "out" / f"{source.name}.png"), model.translate(read(source)))


def test_the_inputs_are_never_overwritten(model, tmp_path):
    source = write(tmp_path / "a.png")
    before = source.read_bytes()
    for given in (source, tmp_path, tmp_path / "*.png"):
        with pytest.raises(UserError, match="would overwrite the input a.png"):
            translate.translate_files(model, str(given), tmp_path)
    assert source.read_bytes() == before


def test_grey_and_transparent_pictures(model, tmp_path):
    grey = write(tmp_path / "in" / "grey.png", mode="L")
    clear = write(tmp_path / "in" / "clear.png", mode="RGBA")
    translate.translate_files(model, str(tmp_path / "in"), tmp_path / "out")
    as_colour = np.repeat(read(grey)[..., None], 3, axis=-1)
    np.testing.assert_array_equal(read(tmp_path / "out" / "grey.png"), model.translate(as_colour))
    image = Image.open(clear)
    on_white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    np.testing.assert_array_equal(read(tmp_path / "out" / "clear.png"), model.translate(np.asarray(on_white)))


@pytest.mark.parametrize(
    ("size", "pairs", "halved"),
    [((32, 64), "auto", True), ((32, 64), "no", False), ((32, 60), "auto", False), ((32, 60), "yes", True)],
)
def test_pairs(model, tmp_path, capsys, size, pairs, halved):
    source = write(tmp_path / "pair.png", size=size)
    [path] = translate.translate_files(model, str(source), tmp_path / "out", pairs=pairs)
    image = read(source)
    expected = image[:, size[1] // 2 :] if halved else image  # direction BtoA: the right half is the input
    np.testing.assert_array_equal(read(path), model.translate(expected))
    assert ("right halves" in capsys.readouterr().out) == halved


def test_bytes_fill_the_range_of_a_model_of_floats(model, tmp_path, capsys):
    """Taken for floats in [-1, 1], nearly all would be 1."""
    config = copy.deepcopy(model.config)
    config.update(input_dtype="float32", input_range=(-1.0, 1.0), dataset="folder", data_dir=str(tmp_path / "data"))
    of_floats = dataclasses.replace(model, config=config)
    vars(of_floats).update(mesh=model.mesh)
    source = write(tmp_path / "in" / "a.png")
    np.save(tmp_path / "in" / "b.npy", read(source) / np.float32(127.5) - 1)
    [of_bytes, of_npy] = translate.translate_files(of_floats, str(tmp_path / "in"), tmp_path / "out")
    assert (
        "note: 1 of 2 files hold uint8 values, where the model takes float32 from -1 to 1: 0 to 255 became -1 to 1"
        in (capsys.readouterr().out)
    )
    np.testing.assert_allclose(read(of_bytes).astype(int), np.load(of_npy), atol=1)
    np.testing.assert_allclose(read(of_bytes).astype(int), model.translate(read(source)), atol=1)
    write(tmp_path / "data" / "val" / "a.png", size=(32, 64))
    found = []
    for one in (of_floats, model):
        config = copy.deepcopy(one.config)
        config.update(dataset="folder", data_dir=str(tmp_path / "data"))
        one = dataclasses.replace(one, config=config)
        found.append(evaluate.evaluate(one, tmp_path / "run", output=str(tmp_path / str(len(found)))).mean["l1"])
    assert found[0] == pytest.approx(found[1], rel=1e-3)
    assert "note: the input files hold uint8 values" in capsys.readouterr().out


def test_an_odd_width_is_no_pair(model, tmp_path):
    source = write(tmp_path / "odd.png", size=(32, 61))
    with pytest.raises(UserError, match="odd.png: 61 pixels wide"):
        translate.translate_files(model, str(source), tmp_path / "out", pairs="yes")


def test_the_same_pictures_for_every_batch_size(model, tmp_path, monkeypatch):
    for i in range(7):
        write(tmp_path / "in" / f"{i}.png", size=(32, 32) if i % 2 else (40, 40), seed=i)
    outputs = {}
    for size in (1, 2, 5):
        monkeypatch.setitem(vars(model), "batch_size", size)
        folder = tmp_path / f"out{size}"
        translate.translate_files(model, str(tmp_path / "in"), folder)
        outputs[size] = [read(folder / f"{i}.png").astype(int) for i in range(7)]
    for size in (2, 5):
        for one, among in zip(outputs[1], outputs[size], strict=True):
            assert np.abs(one - among).max() <= 1
    translate.translate_files(model, str(tmp_path / "in" / "3.png"), tmp_path / "alone")
    assert np.abs(read(tmp_path / "alone" / "3.png") - outputs[1][3]).max() <= 1
    assert np.abs(outputs[1][1] - outputs[1][3]).max() > 1


def random_variables(module, image, scale=0.1):
    """Loud enough for dropout to show in 8 bits, and drawn here because compiling the initialisation takes longer."""
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), image, deterministic=True))
    return jax.tree.map(lambda x: random.normal(0, scale, x.shape).astype(x.dtype), shapes)


@pytest.fixture(scope="module")
def generator():
    """64 px is the least that has a layer with dropout."""
    module = UNetGenerator(num_downs=6, features=2)
    images = np.random.default_rng(1).uniform(-1, 1, (3, 64, 64, 3)).astype(np.float32)
    return module, random_variables(module, images), images


def translated(generator, images, keys, **rules):
    module, variables, _ = generator
    step = jax.jit(make_translate_step(module, **rules), compiler_options={"xla_backend_optimization_level": 1})
    return np.asarray(step(variables, images, keys))


def test_the_seed_chooses_the_dropout(generator):
    images = generator[2]
    keys, others = jax.random.split(jax.random.key(0), 3), jax.random.split(jax.random.key(1), 3)
    on = translated(generator, images, keys)
    np.testing.assert_array_equal(on, translated(generator, images, keys))
    assert np.abs(on - translated(generator, images, others)).max() > 1e-4
    off = translated(generator, images, keys, dropout=False)
    np.testing.assert_array_equal(off, translated(generator, images, others, dropout=False))


def test_the_default_is_the_published_batch_of_one(generator):
    images, keys = generator[2], jax.random.split(jax.random.key(0), 3)
    instance = translated(generator, images, keys, norm_stats="instance")
    for i in range(3):
        alone = translated(generator, images[i : i + 1], keys[i : i + 1], norm_stats="batch")
        np.testing.assert_allclose(instance[i], alone[0], atol=1e-5)
    together = translated(generator, images, keys, norm_stats="batch", dropout=False)
    each = translated(generator, images, keys, norm_stats="instance", dropout=False)
    assert np.abs(together - each).max() > 1e-4  # the batch's statistics are something else
    with pytest.raises(ValueError, match="norm_stats"):
        make_translate_step(generator[0], norm_stats="mean")


@pytest.fixture(scope="module")
def noisy(generator, tiny_config):
    """A model of 64 px whose dropout shows."""
    config = tiny_config("--config.generator.features=2")
    network = {"num_downs": generator[0].num_downs, "dropout_layers": (1, 2, 3, 4, 5)}
    config.update(image_size=(64, 64), resize_size=(64, 64), generator=network)
    variables = random_variables(generator[0], generator[2], scale=0.2)
    model = trained_model.TrainedModel(config=config, variables=variables, step=0)
    vars(model).update(mesh=meshes.make_mesh(batch_size=1, data=1))
    return model


def test_bytes_and_floats_have_the_same_dropout_at_any_size(noisy):
    """Resized, they differ by what bytes round away; that does not draw other noise."""
    image = np.random.default_rng(2).integers(0, 256, (9, 7, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    floats = noisy.translate(image / 127.5 - 1)
    bytes_ = noisy.translate(image).astype(int)
    difference = np.abs((floats + 1) * 127.5 - bytes_).mean()
    other = image.copy()
    other[0, 0, 0] ^= 1  # another picture has other noise
    assert 5 * difference < np.abs(noisy.translate(other) - bytes_).mean()


def test_the_same_dropout_in_translate_evaluate_and_samples(noisy, tmp_path):
    """That of the picture in its file, though they resize it at different times."""
    for i in range(2):
        write(tmp_path / "data" / "val" / f"{i}.png", size=(90, 140), seed=i)
    config = copy.deepcopy(noisy.config)
    config.update(dataset="folder", data_dir=str(tmp_path / "data"))
    model = dataclasses.replace(noisy, config=config)
    vars(model).update(mesh=noisy.mesh)
    found = evaluate.evaluate(model, tmp_path / "run", output=str(tmp_path / "eval")).folder
    translate.translate_files(model, config.data_dir, tmp_path / "out", pairs="yes")
    state = types.SimpleNamespace(generator=types.SimpleNamespace(**jax.device_put(noisy.variables)))
    sampled = from_float(samples.Sampler(config, noisy.mesh)(state)["output"], UINT8)
    for i in range(2):
        evaluated = read(next((found / "images").glob(f"{i:05d}-*-output.png")))
        np.testing.assert_array_equal(read(tmp_path / "out" / "val" / f"{i}.png"), images.resize(evaluated, (90, 70)))
        assert np.abs(np.asarray(sampled[i], int) - evaluated).max() <= 1


def test_the_seed_reaches_the_dropout_from_the_command(noisy, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(trained_model, "load", lambda *arguments, **keywords: noisy)
    source = write(tmp_path / "in.png", size=(64, 64))
    pictures = []
    for i, seed in enumerate((0, 0, 1)):
        output = tmp_path / str(i)
        command = ["translate", f"--workdir={trained}", f"--input={source}", f"--output={output}", f"--seed={seed}"]
        assert cli.main(command) == 0
        pictures.append(read(output / "in.png"))
    assert f"1 pictures in {output}" in capsys.readouterr().out
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


@pytest.mark.parametrize(
    ("source", "words"), [("missing", "no such file"), ("empty", "no images"), ("empty/*.png", "no images")]
)
def test_no_files(model, tmp_path, source, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=words):
        translate.translate_files(model, str(tmp_path / source), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def command(trained, tmp_path, *flags):
    return ["translate", f"--workdir={trained}", f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", *flags]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_bad_files_do_not_keep_the_others(model, trained, tmp_path, capsys, monkeypatch, batch_size):
    for i in range(6):
        write(tmp_path / "in" / f"{i}.png", seed=i)
    whole = (tmp_path / "in" / "2.png").read_bytes()
    (tmp_path / "in" / "1.png").write_bytes(b"")
    (tmp_path / "in" / "3.png").write_bytes(whole[:60])
    (tmp_path / "in" / "gone.png").symlink_to("nothing.png")
    monkeypatch.setitem(vars(model), "batch_size", batch_size)
    monkeypatch.setattr(trained_model, "load", lambda *arguments, **keywords: model)
    assert cli.main(command(trained, tmp_path)) == 2
    out, err = capsys.readouterr()
    listed = out.split("not translated:\n")[1].splitlines()
    assert [name for name in ("1.png", "3.png", "gone.png") if any(name in line for line in listed)] and len(
        listed
    ) == 3
    assert err.splitlines()[-1].endswith("(and 2 more files, listed above); translated 4 of 7 files")
    assert listing(tmp_path / "out") == ["0.png", "2.png", "4.png", "5.png"]
    np.testing.assert_array_equal(read(tmp_path / "out" / "2.png"), model.translate(read(tmp_path / "in" / "2.png")))


def test_all_files_bad(model, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match="translated 0 of 2 files"):
        translate.translate_files(model, str(tmp_path), tmp_path / "out")


def test_loops_of_links_end(model, tmp_path):
    write(tmp_path / "in" / "sub" / "a.png")
    (tmp_path / "in" / "sub" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "self").symlink_to(tmp_path / "in" / "self")
    translate.translate_files(model, str(tmp_path / "in"), tmp_path / "out")
    assert listing(tmp_path / "out") == ["sub/a.png"]


def test_what_is_not_translated_is_said(model, tmp_path, capsys):
    write(tmp_path / "in" / "a.avif")
    (tmp_path / "in" / "b.heic").write_bytes(b"")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    frames = [Image.fromarray(np.full((32, 32, 3), 80 * i, np.uint8)) for i in range(3)]
    frames[0].save(tmp_path / "in" / "c.gif", save_all=True, append_images=frames[1:])
    written = translate.translate_files(model, str(tmp_path / "in"), tmp_path / "out")
    out = capsys.readouterr().out
    assert "note: ignored 1 picture (b.heic) that cannot be read" in out and "1 other file (pipe.png)" in out
    assert "1 of 2 files are animations: translated their first frames" in out
    assert [path.name for path in written] == ["a.png", "c.png"]
    np.testing.assert_array_equal(read(written[1]), model.translate(np.zeros((32, 32, 3), np.uint8)))


def test_one_file_that_cannot_be_read_says_why(model, tmp_path):
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    with pytest.raises(UserError, match=r"x\.heic: a HEIC picture, which cannot be read; convert it to PNG or JPEG"):
        translate.translate_files(model, str(tmp_path / "x.heic"), tmp_path / "out")
