"""From .pth to a workdir that everything else takes, and back (real files: tests/golden/make_popular.py)."""

import pathlib

import numpy as np
import pytest

from pix2pix_jax import cli
from pix2pix_jax import configuration as config_lib
from pix2pix_jax.errors import UserError
from pix2pix_jax.inference import trained_model
from pix2pix_jax.interop import layout, transfer
from pix2pix_jax.io import pth
from pix2pix_jax.training import train

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "popular"
UNET, RESNET, PATCHGAN, PIXEL = (str(GOLDEN / f"{name}.pth") for name in ("unet", "resnet", "patchgan", "pixel"))
SIZES = ("--config.image_size=32,32", "--config.resize_size=36,36", "--config.direction=BtoA")
PLAIN = ("--config.inference.norm_stats=running", "--config.inference.dropout=off")  # PyTorch's eval mode


def load(*overrides: str):
    return config_lib.read("default", [*SIZES, "--config.discriminator.num_layers=1", *overrides])


@pytest.fixture(scope="module")
def outputs() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "outputs.npz"))


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("imported") / "run"
    transfer.import_torch(load(*PLAIN), workdir, generator=UNET, discriminator=PATCHGAN)
    return workdir


@pytest.mark.parametrize("name", ["unet", "unet_legacy", "resnet", "resnet_dropout"])
def test_an_imported_generator_answers_as_in_pytorch(name, outputs, tmp_path):
    image = outputs[f"{name}/input"]
    config = load(*PLAIN, f"--config.image_size={image.shape[1]},{image.shape[2]}")
    transfer.import_torch(config, tmp_path, generator=str(GOLDEN / f"{name}.pth"))
    model = trained_model.load(tmp_path)
    np.testing.assert_allclose(model.translate_resized(image), outputs[f"{name}/eval"], atol=1e-4)


def test_what_weights_show_goes_into_the_config_and_the_rest_stays(tmp_path):
    before = load("--config.l1_weight=7", "--config.preset=tf_tutorial")
    after = transfer.import_torch(before, tmp_path, generator=UNET, discriminator=PIXEL)
    assert (after.generator.features, after.generator.bottleneck_norm, after.discriminator.num_layers) == (1, False, 0)
    assert (after.l1_weight, after.generator.slope) == (7, 0.3)  # no weights tell of a slope
    changed = transfer.changed_fields(before, after)
    assert "--config.generator.features=1" in changed and "--config.discriminator.num_layers=0" in changed
    assert not any("num_downs" in field for field in changed)  # 5 is what 32 px take
    # The advice is good: the same config with these overrides goes on with the run.
    again = load("--config.l1_weight=7", "--config.preset=tf_tutorial", *changed)
    assert config_lib.differences(trained_model.load(tmp_path).config, again) == []


def test_a_unet_brings_its_size_unless_one_is_given(outputs, tmp_path, capsys):
    """Under a config of 256 px, pictures of the size that it was made for would be enlarged and reduced again."""
    command = ["import-torch", "--config=default", f"--generator={UNET}", *PLAIN]
    assert cli.main([*command, f"--workdir={tmp_path / 'own'}"]) == 0
    shown = capsys.readouterr().out
    assert "note: the U-Net is made for 32x32 pixels" in shown
    assert "--config.image_size=(32, 32)" in shown and "--config.resize_size=(36, 36)" in shown
    model = trained_model.load(tmp_path / "own")
    np.testing.assert_allclose(model.translate(outputs["unet/input"]), outputs["unet/eval"], atol=1e-4)
    for i, (given, size) in enumerate(
        [
            (("--config.image_size=64,64",), ((64, 64), (286, 286))),
            (("--config.resize_size=64,40",), ((32, 32), (64, 40))),
            (("--config.preprocess=none", "--config.generator.num_downs=5"), ((256, 256), (286, 286))),
        ]
    ):
        config = config_lib.read("default", given)
        keep = [override.split(".")[1].split("=")[0] for override in given]
        config, _, _ = transfer._read(config, UNET, None, keep)
        assert (config.image_size, config.resize_size) == size, i


def test_a_resnet_is_recognised(tmp_path):
    image = ("--config.image_size=36,28",)
    config = transfer.import_torch(load(*image), tmp_path / "plain", generator=RESNET)
    assert (config.generator.name, config.generator.dropout) == ("resnet", 0)
    with_dropout = str(GOLDEN / "resnet_dropout.pth")
    config = transfer.import_torch(load(*image), tmp_path / "dropout", generator=with_dropout)
    assert (config.generator.norm, config.generator.dropout) == ("instance", 0.5)


@pytest.mark.heavy
def test_training_goes_on_from_imported_weights(imported, tmp_path):
    off = ("--config.eval_every_steps=0", "--config.sample_every_steps=0", "--config.data_residency=host")
    config = load(*PLAIN, *off, "--config.ema_decay=0.5", "--config.num_steps=2")
    imported_config = transfer.import_torch(config, tmp_path, generator=UNET, discriminator=PATCHGAN)
    before = trained_model.load(tmp_path).variables["params"]["up0"]["kernel"]
    state = train.train(imported_config, tmp_path)
    assert int(state.step) == 2
    moved = np.abs(np.asarray(state.generator.params["up0"]["kernel"]) - before).max()
    assert 0 < moved < 0.01  # two steps of Adam at 2e-4
    np.testing.assert_allclose(state.ema["up0"]["kernel"], before, atol=0.01)


@pytest.mark.parametrize(("network", "file"), [("generator", UNET), ("discriminator", PATCHGAN)])
def test_what_came_in_goes_out(network, file, imported, tmp_path):
    assert cli.main(
        ["export", f"--workdir={imported}", f"--output={tmp_path / 'x.pth'}", f"--network={network}"]
    ) == 0  # fmt: skip
    original, written = layout.clean(pth.read(file)), pth.read(tmp_path / "x.pth")
    assert list(original) == list(written)
    for key, array in original.items():
        np.testing.assert_array_equal(array if "tracked" not in key else 0, written[key])


def test_torch_loads_what_is_exported(imported, tmp_path):
    torch = pytest.importorskip("torch")
    transfer.export_torch(imported, tmp_path / "x.pth")
    loaded = torch.load(tmp_path / "x.pth", weights_only=True)
    for key, array in layout.clean(pth.read(UNET)).items():
        np.testing.assert_array_equal(loaded[key].numpy() if "tracked" not in key else array, array)


def test_the_moving_average_is_what_inference_uses_and_exports(tiny_config, tmp_path):
    run = ("--config.ema_decay=0.9", "--config.num_steps=3")
    state = train.train(tiny_config(*run), tmp_path / "latest")
    averaged = train.train(tiny_config(*run, "--config.inference.weights=ema"), tmp_path / "ema")
    np.testing.assert_array_equal(state.ema["up0"]["kernel"], averaged.ema["up0"]["kernel"])
    for name, params in (("latest", state.generator.params), ("ema", averaged.ema)):
        transfer.export_torch(tmp_path / name, tmp_path / f"{name}.pth")
        exported = pth.read(tmp_path / f"{name}.pth")["model.model.3.bias"]
        np.testing.assert_array_equal(exported, params["up0"]["bias"])
        np.testing.assert_array_equal(trained_model.load(tmp_path / name).variables["params"]["up0"]["bias"], exported)
        transfer.export_torch(tmp_path / "latest", tmp_path / "x.pth", weights=name)
        np.testing.assert_array_equal(pth.read(tmp_path / "x.pth")["model.model.3.bias"], exported)
    assert np.abs(np.asarray(state.ema["up0"]["bias"] - state.generator.params["up0"]["bias"])).max() > 0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("generator.slope=0.3", "config.generator.slope: 0.3"),
        ("generator.decoder_activation=before_concat", "config.generator.decoder_activation"),
        ("norm_epsilon=1e-3", "config.norm_epsilon: 0.001"),
    ],
)
def test_what_pytorch_would_answer_otherwise_is_not_exported(override, words, tmp_path):
    transfer.import_torch(load(f"--config.{override}"), tmp_path, generator=UNET)
    with pytest.raises(UserError, match=words):
        transfer.export_torch(tmp_path, tmp_path / "x.pth")
    assert not (tmp_path / "x.pth").exists()


@pytest.fixture
def refusal(tmp_path, capsys):
    def run(*arguments: str) -> str:
        command = ["import-torch", "--config=default", *SIZES, f"--workdir={tmp_path / 'run'}", *arguments]
        assert cli.main(command) == cli.EXIT_USER_ERROR
        printed = capsys.readouterr()
        assert printed.err.count("\n") == 1 and "Traceback" not in printed.err
        assert not (tmp_path / "run").exists()
        return printed.err

    return run


def test_wrong_files_are_refused_in_one_line(refusal, tmp_path):
    assert "holds a discriminator, not a generator" in refusal(f"--generator={PATCHGAN}")
    assert "holds a generator, not a discriminator" in refusal(f"--generator={UNET}", f"--discriminator={UNET}")
    assert "no such file" in refusal(f"--generator={tmp_path / 'none.pth'}")
    other_channels = str(GOLDEN / "pixel_none.pth")
    message = refusal(f"--generator={UNET}", f"--discriminator={other_channels}")
    assert "sees 4 channels, where the generator makes 3 of 3" in message
    (tmp_path / "text.pth").write_text("not weights")
    assert "not a file of PyTorch weights" in refusal(f"--generator={tmp_path / 'text.pth'}")
    whole = pathlib.Path(UNET).read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    assert "cut.pth" in refusal(f"--generator={tmp_path / 'cut.pth'}")


def test_a_pickle_that_would_run_code_runs_nothing(refusal, tmp_path):
    marker = tmp_path / "marker"
    (tmp_path / "evil.pth").write_bytes(f"cos\nmkdir\n(V{marker}\ntR.".encode())
    refusal(f"--generator={tmp_path / 'evil.pth'}")
    (tmp_path / "evil.pth").write_bytes(b"\x80\x02" + f"cos\nmkdir\n(V{marker}\ntR.".encode())
    assert "holds code (os.mkdir)" in refusal(f"--generator={tmp_path / 'evil.pth'}")
    assert not marker.exists()


def test_images_that_the_generator_cannot_take(refusal):
    assert "config.image_size" in refusal(f"--generator={UNET}", "--config.image_size=48,48")


def test_a_workdir_with_a_run_is_left_alone(imported):
    before = sorted(p.name for p in (imported / "checkpoints").iterdir())
    with pytest.raises(UserError, match="holds a run; use another --workdir"):
        transfer.import_torch(load(), imported, generator=UNET)
    assert sorted(p.name for p in (imported / "checkpoints").iterdir()) == before
