"""Any size from the library and the command: which way a picture takes, and that none of them shows."""

import dataclasses
import shutil

import numpy as np
import pytest
import tifffile
from etils import epath
from PIL import Image

from pix2pix_jax import cli
from pix2pix_jax.data.files import images, tiff_bands
from pix2pix_jax.errors import UserError
from pix2pix_jax.evaluation import evaluate
from pix2pix_jax.inference import large_files, native, tiles, trained_model, translate


@pytest.fixture(scope="module")
def model(trained):
    return trained_model.load(trained)


def picture(size, channels=3, seed=0):
    """Draws uint8 colours with edges, `size` (H, W)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1, channels), np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))[: size[0], : size[1]]


def levels_apart(one, other):
    return np.abs(one.astype(int) - other).max()


def test_native_at_the_models_own_size_is_what_the_model_does(model):
    image = picture((32, 32))
    assert levels_apart(model.translate(image, size="native"), model.translate(image)) <= 1
    floats = model.translate(np.float32(image / 127.5 - 1), size="native")
    assert floats.dtype == np.float32 and levels_apart((floats + 1) * 127.5, model.translate(image)) <= 1.01


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (61, 47), (130, 20)])
def test_any_size_in_tiles_is_that_in_one_pass(model, size):
    image = picture(size)
    whole = model.translate(image, size="native", tile="off")
    assert whole.shape == image.shape and whole.dtype == np.uint8
    assert levels_apart(model.translate(image, size="native", tile=40), whole) <= 1


def test_a_given_size_comes_back_at_the_pictures_own(model):
    image = picture((90, 70))
    fake = model.translate(image, size=(48, 40), seed=1)
    assert fake.shape == image.shape
    assert levels_apart(fake, model.translate(image, seed=1)) > 1


def test_several_pictures_of_one_call_do_not_meet(model):
    images = np.stack([picture((40, 44), seed=seed) for seed in range(2)])
    both = model.translate(images, size="native")
    assert levels_apart(both[1], model.translate(images[1], size="native")) <= 1


def programs_of(model):
    return model._programs((model.input_values, model.target_values))


def ways(model, size, tile="auto"):
    programs = programs_of(model)
    padded = tiles.padded_size(tiles.ArrayPicture(np.zeros((*size, 3), np.uint8)), programs.multiple)
    return native._sides(programs, padded, programs.depths[0], tile)


def test_auto_takes_one_pass_where_it_fits_and_else_tiles(model, monkeypatch):
    assert ways(model, (100, 100))[0] == 0
    room = 2 * programs_of(model).whole_bytes((64, 64))
    monkeypatch.setattr(native.meshes, "free_memory", lambda: room)
    assert ways(model, (100, 100))[0] == 64
    assert ways(model, (60, 60))[0] == 0
    assert ways(model, (100, 100), "off") == [0]
    assert ways(model, (100, 100), 48) == ways(model, (100, 100), 51) == [48]


def test_out_of_memory_goes_on_with_smaller_tiles(model, monkeypatch, capsys):
    """A device without room for one pass raises as the XLA runtime does; the translation is the same."""
    image = picture((100, 90))
    expected = model.translate(image, size="native")
    translate_once = native._translate

    def short_of_memory(programs, picture, key, side, depth):
        if not 0 < side <= 64:
            raise native.jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")
        yield from translate_once(programs, picture, key, side, depth)

    monkeypatch.setattr(native, "_translate", short_of_memory)
    assert levels_apart(model.translate(image, size="native"), expected) <= 1
    out = capsys.readouterr()
    assert "out of memory in one pass" in out.out + out.err and "tiles of 128" in out.out + out.err
    with pytest.raises(UserError, match="--tile=off.*smaller tile"):
        model.translate(image, size="native", tile="off")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--size=big"], "--size=big: must be model, native"),
        (["--size=0x5"], "--size=0x5"),
        (["--size=native", "--tile=some"], "--tile=some: must be auto, off"),
        (["--size=native", "--tile=0"], "--tile=0"),
        (["--size=native", "--tile=12"], "--tile=12: too small for this generator; use 20 or more"),
    ],
)
def test_mistakes_end_in_a_line(trained, tmp_path, capsys, flags, words):
    Image.fromarray(picture((50, 40))).save(tmp_path / "a.png")
    command = ["translate", f"--workdir={trained}", f"--input={tmp_path / 'a.png'}", f"--output={tmp_path / 'out'}"]
    assert cli.main([*command, *flags]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("pix2pix translate: error: ") and words in error
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    "options", [{"size": "big"}, {"size": (0, 5)}, {"size": [32, 32]}, {"tile": 0}, {"tile": "on"}]
)
def test_mistakes_in_a_program(model, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        model.translate(picture((40, 40)), **{"size": "native", **options})


def test_files_that_lose_detail_are_named_once(model, tmp_path, capsys):
    for name, size in (("small", (40, 40)), ("large", (60, 40)), ("larger", (90, 90))):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(picture(size)).save(tmp_path / "in" / f"{name}.png")
    translate.translate_files(model, str(tmp_path / "in"), tmp_path / "out")
    assert "2 of 3 files are much larger" in (out := capsys.readouterr().out) and "--size=native" in out
    written = translate.translate_files(model, str(tmp_path / "in"), tmp_path / "native", size="native")
    assert "--size" not in capsys.readouterr().out
    for path in written:
        given = np.asarray(Image.open(tmp_path / "in" / path.name))
        np.testing.assert_array_equal(np.asarray(Image.open(path)), model.translate(given, size="native"))


@pytest.mark.parametrize("channels", [4, 3, 1])
def test_a_tiff_that_is_not_read_whole(model, tmp_path, monkeypatch, channels):
    image = picture((150, 170), channels)
    source = tmp_path / "in" / "map.tif"
    source.parent.mkdir()
    kind = {"photometric": "rgb", "extrasamples": ["unassalpha"]} if channels == 4 else {}
    tifffile.imwrite(source, image.squeeze(), tile=(64, 64), compression="zlib", **kind)
    monkeypatch.setattr(large_files, "MAX_PIXELS", 1000)
    monkeypatch.setattr(large_files, "_BAND", 37)
    (written,) = translate.translate_files(model, str(source), tmp_path / "out", size="native", tile=64)
    expected = model.translate(images.decode(source, channels=3), size="native")
    assert levels_apart(tifffile.imread(written), expected) <= 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["map.tif"]


def test_a_damaged_large_tiff_is_named_and_leaves_nothing(model, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "good.tif", picture((70, 70)), compression="zlib", rowsperstrip=16)
    data = (tmp_path / "in" / "good.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "in" / "good.tif") as file:
        start = file.pages.first.dataoffsets[3]
    (tmp_path / "in" / "bad.tif").write_bytes(data[:start] + bytes(40) + data[start + 40 :])
    monkeypatch.setattr(large_files, "MAX_PIXELS", 1000)
    with pytest.raises(UserError, match=r"bad\.tif: damaged.*translated 1 of 2"):
        translate.translate_files(model, str(tmp_path / "in"), tmp_path / "out", size="native")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.tif"]


def test_a_large_tiff_has_the_id_of_its_pixels(model, tmp_path, monkeypatch):
    """Dropout is drawn from it."""
    image = picture((150, 40))
    tifffile.imwrite(tmp_path / "a.tif", image, rowsperstrip=16)
    monkeypatch.setattr(large_files, "_BAND", 37)
    rows, values = tiff_bands.TiffRows(tmp_path / "a.tif", "a.tif"), model.input_values
    assert large_files._FittedRows(rows, 3, values, "a.tif").picture_id() == trained_model.picture_ids([image], values)


def test_a_large_tiff_is_not_written_to_a_bucket(model, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", picture((64, 64)))
    with pytest.raises(UserError, match=r"a\.tif: .*local disk"):
        large_files.translate(model, tmp_path / "a.tif", epath.Path("gs://bucket/a.tif"), seed=0, tile="auto")


def test_small_tiffs_of_odd_kinds_are_read_whole(model, tmp_path):
    image = picture((64, 64))
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", image.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    (tmp_path / "in" / "no.tif").write_bytes(b"no tiff")
    with pytest.raises(UserError, match=r"no\.tif.*translated 1 of 2"):
        translate.translate_files(model, str(tmp_path / "in"), tmp_path / "out", size="native")
    assert levels_apart(tifffile.imread(tmp_path / "out" / "a.tif"), model.translate(image, size="native")) <= 1


def test_large_tiffs_of_odd_kinds_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "planes.tif", picture((64, 64)).transpose(2, 0, 1), photometric="rgb")
    with pytest.raises(UserError, match="too large to be read whole"):
        tiff_bands.TiffRows(tmp_path / "planes.tif", "planes.tif")
    (tmp_path / "no.tif").write_bytes(b"no tiff")
    with pytest.raises(UserError, match="not a readable image"):
        tiff_bands.TiffRows(tmp_path / "no.tif", "no.tif")


def test_evaluate_scores_what_users_get_at_their_own_sizes(trained, tmp_path, capsys):
    """Pairs of several sizes: each score is that of translate's own file against the target."""
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    sizes = [(40, 56), (33, 70)]
    for i, size in enumerate(sizes):
        (tmp_path / "data" / "val").mkdir(parents=True, exist_ok=True)
        pair = np.concatenate([picture(size, seed=i), picture(size, seed=10 + i)], axis=1)
        Image.fromarray(pair).save(tmp_path / "data" / "val" / f"{i}.png")
    model = trained_model.load(workdir)
    config = model.config.copy_and_resolve_references()
    config.update({"dataset": "folder", "data_dir": str(tmp_path / "data")})
    model = dataclasses.replace(model, config=config)
    result = evaluate.evaluate(model, workdir, size="native", tile=24, output=str(tmp_path / "scores"))
    for i, (image, size) in enumerate(zip(result.images, sizes, strict=True)):
        target, given = picture(size, seed=i), picture(size, seed=10 + i)  # BtoA
        fake = model.translate(given, size="native")
        written = np.asarray(Image.open(tmp_path / "scores" / image["files"]["output"]))
        assert written.shape == fake.shape and levels_apart(written, fake) <= 1
        assert image["l1"] == pytest.approx(np.abs(written.astype(float) - target).mean() / 127.5, abs=1e-5)


def test_evaluate_takes_the_sizes_that_it_can(trained, capsys):
    assert cli.main(["evaluate", f"--workdir={trained}", "--size=40x40"]) == 2
    assert "--size=40x40: must be model or native" in capsys.readouterr().err
