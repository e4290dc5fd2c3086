"""The table of formats, and models from their .safetensors file, by the command line."""

import sys

import jax.export
import numpy as np
import onnxruntime
import pytest

import pix2pix_jax
from pix2pix_jax.errors import UserError
from pix2pix_jax.export import formats
from pix2pix_jax.io import safetensors_file


@pytest.fixture(scope="module")
def images():
    return np.random.RandomState(0).randint(0, 256, (2, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def model_file(trained, tmp_path_factory):
    file = tmp_path_factory.mktemp("file") / "m.safetensors"
    formats.export(str(trained), str(file))
    return file


def test_a_file_makes_the_same_model_as_the_workdir(trained, model_file, images):
    found, wanted = pix2pix_jax.load(model_file), pix2pix_jax.load(trained)
    assert repr(found) == repr(wanted)
    np.testing.assert_array_equal(found.translate(images), wanted.translate(images))
    still = pix2pix_jax.load(str(model_file), dropout="off", norm_stats="running")
    wanted = pix2pix_jax.load(trained, dropout="off", norm_stats="running")
    np.testing.assert_array_equal(still.translate(images), wanted.translate(images))


def test_names_and_bytes_of_a_file(trained, model_file, tmp_path):
    arrays, about = safetensors_file.read(model_file)
    assert {"params/down0/kernel", "params/up1_norm/scale", "batch_stats/up1_norm/var"} < arrays.keys()
    assert arrays["params/down0/kernel"].shape == (4, 4, 3, 8)
    assert about["step"] == 6 and about["config"]["generator"]["features"] == 8 and "licence" in about["licence"]
    formats.export(str(trained), str(tmp_path / "again.safetensors"))
    assert (tmp_path / "again.safetensors").read_bytes() == model_file.read_bytes()


def test_a_file_stands_for_its_workdir(run, trained, model_file, tmp_path):
    for name, source in (("file", model_file), ("run", trained)):
        for ending in ("onnx", "pth", "safetensors"):
            code, _, stderr = run("export", f"--workdir={source}", f"--output={tmp_path}/{name}.{ending}")
            assert code == 0, stderr
    for ending in ("onnx", "pth", "safetensors"):
        assert (tmp_path / f"file.{ending}").read_bytes() == (tmp_path / f"run.{ending}").read_bytes(), ending
    code, _, stderr = run("evaluate", f"--workdir={model_file}")
    assert code == 2 and "does not say where the data are" in stderr and stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arrays, about: arrays.pop("params/down1/kernel"), "params/down1/kernel is not as its config has it"),
        (lambda arrays, about: arrays.update(more=np.zeros(2)), "more is not as its config has it"),
        (lambda arrays, about: about.pop("config"), "holds no config"),
        (lambda arrays, about: about.update(step="six"), "holds no config and step"),
        (lambda arrays, about: about["config"].update(batch_size="many"), "config of the checkpoint: "),
        (lambda arrays, about: about["config"]["generator"].update(features=9), "is not as its config has it"),
    ],
)
def test_files_of_other_content(change, words, model_file, tmp_path):
    arrays, about = safetensors_file.read(model_file)
    change(arrays, about)
    (tmp_path / "x.safetensors").write_bytes(safetensors_file.dump(arrays, about))
    with pytest.raises(UserError, match=words):
        pix2pix_jax.load(tmp_path / "x.safetensors")


def test_damaged_files_and_others(model_file, tmp_path):
    content, file = model_file.read_bytes(), tmp_path / "x.safetensors"
    header = 8 + int.from_bytes(content[:8], "little")
    changed = (b"", b"text", content[: len(content) // 2], content[:header], bytes(8) + content, b"\xff" * 64)
    changed += (content[:-99] + bytes([content[-99] ^ 1]) + content[-98:],)  # a bit of a number
    for damaged in (*changed, *(content[:i] + b"\x00" + content[i + 1 :] for i in range(0, header, 97))):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="x.safetensors"):
            pix2pix_jax.load(file)
    with pytest.raises(UserError, match="no such file"):
        pix2pix_jax.load(tmp_path / "none.safetensors")
    file.write_bytes(safetensors_file.safetensors.numpy.save({"a": np.zeros(3, np.float32)}))
    with pytest.raises(UserError, match="holds no config of pix2pix_jax"):
        pix2pix_jax.load(file)


def test_every_format_answers_as_the_run(run, trained, tmp_path, images):
    model = pix2pix_jax.load(trained, dropout="off", norm_stats="running")
    wanted = model.translate(images).astype(int)
    rules = ("--norm_stats=running", "--dropout=off")
    code, stdout, stderr = run(
        "export", f"--workdir={trained}", f"--output={tmp_path}/a.ONNX", "--values=uint8", *rules
    )
    assert code == 0 and "multiples of 8" in stdout, stderr
    session = onnxruntime.InferenceSession(tmp_path / "a.ONNX", providers=["CPUExecutionProvider"])
    assert np.abs(session.run(None, {"image": images})[0].astype(int) - wanted).max() <= 1
    code, stdout, stderr = run("export", f"--workdir={trained}", f"--output={tmp_path}/a.stablehlo", *rules)
    assert code == 0 and "multiples of 8" in stdout, stderr
    program = jax.export.deserialize(bytearray((tmp_path / "a.stablehlo").read_bytes()))
    found = np.asarray(program.call(images / np.float32(127.5) - 1))
    assert np.abs(np.round((found + 1) * 127.5).clip(0, 255) - wanted).max() <= 1


MISTAKES = [
    (
        ("--output=G.pt",),
        "--output=G.pt: unknown format; give a name that ends in .pth, .onnx, .stablehlo, .safetensors",
    ),
    (("--output=G",), "unknown format"),
    (("--output=no/such/G.onnx",), "no/such/G.onnx: cannot be written (No such file or directory)"),
    (("--output=G.pth", "--values=uint8"), "--values: has no effect on .pth files; it goes with .onnx only"),
    (
        ("--output=G.pth", "--dropout=on"),
        "--dropout: has no effect on .pth files; it goes with .onnx, .stablehlo, .saf",
    ),
    (("--output=G.onnx", "--network=generator"), "--network: has no effect on .onnx files; it goes with .pth only"),
    (("--output=G.onnx", "--size=64x64"), "--size: has no effect on .onnx files; it goes with .stablehlo only"),
    (("--output=G.safetensors", "--precision=int8"), "--precision: has no effect on .safetensors files"),
    (("--output=G.stablehlo", "--size=native"), "--size=native: must be any, model"),
    (("--output=G.stablehlo", "--size=33x32"), "--size=33x32: both sides must be multiples of 8"),
    (("--output=G.onnx", "--weights=ema"), "config.inference.weights: ema, but ema_decay is 0"),
    (("--output=G.onnx", "--step=3000"), "--step=3000: no such checkpoint"),
    (("--output=G.onnx", "--precision=int4"), "--precision: invalid choice"),
    (("--output=G.pth", "--network=discriminator", "--weights=ema"), "--weights: has no effect on a discriminator"),
]


@pytest.mark.parametrize(("flags", "words"), MISTAKES, ids=lambda value: None)
def test_a_mistake_is_one_line_and_writes_nothing(flags, words, run, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, stderr = run("export", f"--workdir={trained}", *flags)
    assert code == 2 and words in stderr and stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_named_with_the_command(run, trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, _, stderr = run("export", f"--workdir={trained}", f"--output={tmp_path / 'G.onnx'}")
    assert code == 2 and "needs onnx; pip install onnx, or '.[onnx]'" in stderr and stderr.count("\n") == 1


def test_a_file_of_one_kind_of_weights_does_not_give_the_other(model_file, run, tmp_path):
    arrays, about = safetensors_file.read(model_file)
    about["config"]["ema_decay"] = 0.9
    (tmp_path / "x.safetensors").write_bytes(safetensors_file.dump(arrays, about))
    with pytest.raises(UserError, match="holds the weights 'latest' alone; export 'ema' from the run"):
        pix2pix_jax.load(tmp_path / "x.safetensors", weights="ema")
    with pytest.raises(UserError, match=r"--step=3: .* holds one model alone"):
        pix2pix_jax.load(tmp_path / "x.safetensors", step=3)
