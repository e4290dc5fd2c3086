"""Evaluation: the numbers are those of the pictures that are written, whatever the batch size."""

import html
import json
import re
import urllib.parse

import numpy as np
import pytest
from onnx_segmenter import make_segmenter
from PIL import Image
from skimage import metrics as reference

from pix2pix_jax import cli
from pix2pix_jax.data.sources import datasets
from pix2pix_jax.evaluation import evaluate, report
from pix2pix_jax.inference import trained_model
from pix2pix_jax.metrics import names
from pix2pix_jax.runtime import meshes

METRICS = ("l1", "psnr", "ssim")


@pytest.fixture(scope="module")
def model(trained):
    """In batches of 3, of which 100 pairs leave the last partial."""
    model = trained_model.load(trained)
    use_batches_of(model, 3)
    return model


def use_batches_of(model, size):
    """cached_property keeps its value in the instance."""
    vars(model).update(batch_size=size, mesh=meshes.make_mesh(batch_size=size, data=1))


@pytest.fixture(scope="module")
def result(model, trained, tmp_path_factory):
    return evaluate.evaluate(model, trained, output=str(tmp_path_factory.mktemp("eval") / "out"))


def read(path):
    return np.asarray(Image.open(path))


def test_metrics_json(result, model):
    report = json.loads((result.folder / "metrics.json").read_text())
    assert (report["split"], report["step"], report["num_examples"]) == ("val", 6, 100)
    assert [record["name"] for record in report["images"]] == [f"val-{i:03d}" for i in range(100)]
    for metric in METRICS:
        values = [record[metric] for record in report["images"]]
        assert report["mean"][metric] == pytest.approx(np.mean(values), rel=1e-6)
        assert len(set(values)) > 50
    assert report["config"]["generator"]["features"] == model.config.generator.features
    assert report["mean"] == result.mean
    for record in report["images"]:
        assert list(record["files"]) == ["input", "output", "target"]
        assert all((result.folder / path).is_file() for path in record["files"].values())


def test_the_numbers_are_those_of_the_pictures(result):
    for i in [*range(0, 99, 9), 99]:
        record = result.images[i]
        output, target = (
            read(result.folder / "images" / f"{i:05d}-{record['name']}-{column}.png") for column in ("output", "target")
        )
        difference = np.abs(output.astype(float) - target)
        assert record["l1"] == pytest.approx(difference.mean() / 127.5, rel=1e-5)
        assert record["psnr"] == pytest.approx(reference.peak_signal_noise_ratio(target, output), rel=1e-4)
        ssim = reference.structural_similarity(
            target, output, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert record["ssim"] == pytest.approx(ssim, abs=2e-4)


def test_the_pictures_are_those_of_the_split(result, model):
    source = datasets.open_source("drawn_facades", "val", data_dir="", size=(32, 32), seed=0)
    photo, labels = source.pair(99, (3, 3))  # BtoA: the labels are the input
    np.testing.assert_array_equal(read(result.folder / "images" / "00099-val-099-input.png"), labels)
    np.testing.assert_array_equal(read(result.folder / "images" / "00099-val-099-target.png"), photo)
    output = read(result.folder / "images" / "00099-val-099-output.png")
    assert np.abs(model.translate(labels).astype(int) - output).max() <= 1
    assert len(list((result.folder / "images").iterdir())) == 300


def test_the_gallery_refers_to_the_pictures(result):
    page = html.unescape((result.folder / "index.html").read_text())
    paths = set(re.findall(r"images/[\w%.-]+\.png", page))
    assert len(paths) == 300
    assert all((result.folder / urllib.parse.unquote(path)).is_file() for path in paths)


def test_the_same_numbers_one_by_one(result, trained, tmp_path, monkeypatch):
    monkeypatch.setitem(datasets._DRAWN_COUNT, "val", 7)  # 3 + 3 + 1
    model = trained_model.load(trained)
    use_batches_of(model, 1)
    single = evaluate.evaluate(model, trained, output=str(tmp_path / "out"))
    assert len(single.images) == 7
    for one, among in zip(single.images, result.images, strict=False):
        assert one["name"] == among["name"]
        for metric in METRICS:
            assert one[metric] == pytest.approx(among[metric], abs=2e-3, rel=2e-3)


def test_what_fills_a_batch_is_no_data(trained, tmp_path, monkeypatch):
    """Under norm_stats=batch, 7 pictures are normalised by fours and threes, however many devices share them."""
    monkeypatch.setitem(datasets._DRAWN_COUNT, "val", 7)
    source = datasets.open_source("drawn_facades", "val", data_dir="", size=(32, 32), seed=0)
    inputs = np.stack([source.pair(i, (3, 3))[1] for i in range(7)])
    found = []
    for devices in (1, 2, 4):
        model = trained_model.load(trained, norm_stats="batch")
        vars(model).update(batch_size=4, mesh=meshes.make_mesh(batch_size=4, data=devices))
        folder = evaluate.evaluate(model, trained, output=str(tmp_path / str(devices))).folder
        found.append([read(path) for path in sorted((folder / "images").glob("*-output.png"))])
        found.append(np.concatenate([model.translate(inputs[:4]), model.translate(inputs[4:])]))
        found.append(model.translate(inputs))
    for one in found[1:]:
        np.testing.assert_allclose(np.asarray(one, int), np.asarray(found[0], int), atol=1)
    alone = np.stack([model.translate(image) for image in inputs])
    assert np.abs(alone.astype(int) - found[0]).max() > 1  # it does matter what shares a batch


def test_the_command_says_where_things_are(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(datasets._DRAWN_COUNT, "test", 2)
    output = tmp_path / "elsewhere"
    assert cli.main(["evaluate", f"--workdir={trained}", "--split=test", "--step=3", f"--output={output}"]) == 0
    shown = capsys.readouterr().out
    report = json.loads((output / "metrics.json").read_text())
    assert (report["split"], report["step"], report["num_examples"]) == ("test", 3, 2)
    assert f"ssim {report['mean']['ssim']:.4f}" in shown and "over 2 pairs" in shown
    assert str(output / "index.html") in shown


def test_the_default_folder_is_in_the_workdir(model, tmp_path, monkeypatch):
    monkeypatch.setitem(datasets._DRAWN_COUNT, "val", 1)
    assert evaluate.evaluate(model, tmp_path / "run").folder == tmp_path / "run" / "eval" / "val-6"
    assert (tmp_path / "run" / "eval" / "val-6" / "metrics.json").is_file()


def test_a_report_that_is_not_finished_has_no_numbers_of_an_earlier_one(tmp_path):
    for name in ("metrics.json", "index.html"):
        (tmp_path / name).write_text("of pictures that are being overwritten")
    with pytest.raises(KeyboardInterrupt), report.Report(tmp_path) as unfinished:
        unfinished.add(0, "a", {"output": np.zeros((4, 4, 3), np.uint8)}, {"l1": 0.5})
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_equal_pictures_leave_the_report_readable(model, tmp_path, monkeypatch):
    """Their PSNR is infinite, which JSON cannot say."""
    monkeypatch.setitem(datasets._DRAWN_COUNT, "val", 1)
    target = datasets.open_source("drawn_facades", "val", data_dir="", size=(32, 32), seed=0).pair(0, (3, 3))[0]
    perfect = np.broadcast_to(target.astype(np.float32) / 127.5 - 1, (3, 32, 32, 3))
    monkeypatch.setattr(trained_model.TrainedModel, "translate_resized", lambda *arguments, **keywords: perfect)
    folder = evaluate.evaluate(model, tmp_path).folder
    report = json.loads((folder / "metrics.json").read_text())
    assert report["mean"]["l1"] == 0 and report["mean"]["psnr"] is None


def test_a_segmenter_scores_what_was_made_from_label_maps(trained, tmp_path, monkeypatch, capsys):
    """Given the label maps themselves as pictures, it would find all; the photographs' colours say little."""
    monkeypatch.setitem(datasets._DRAWN_COUNT, "val", 2)
    segmenter = make_segmenter(tmp_path / "segmenter.onnx")
    flags = (f"--segmenter={segmenter}", "--metrics=l1", f"--output={tmp_path / 'out'}")
    assert cli.main(["evaluate", f"--workdir={trained}", *flags]) == 0
    total = json.loads((tmp_path / "out" / "metrics.json").read_text())["total"]
    assert total.keys() == {f"fcn_{real}{name}" for real in ("", "real_") for name in names.LABEL_SCORES}
    assert 0 <= total["fcn_mean_iou"] < 1 and "fcn_real_mean_iou" in capsys.readouterr().out
    labels_as_pictures = tmp_path / "out" / "images" / "*-input.png"
    files = (f"--pictures={labels_as_pictures}", f"--targets={labels_as_pictures}", f"--inputs={labels_as_pictures}")
    flags = (f"--segmenter={segmenter}", "--palette=facades", f"--output={tmp_path / 'perfect'}")
    assert cli.main(["evaluate", *files, *flags]) == 0
    total = json.loads((tmp_path / "perfect" / "metrics.json").read_text())["total"]
    assert total["fcn_pixel_accuracy"] == total["fcn_real_mean_iou"] == 1


def test_rules_of_inference_for_one_call(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(datasets._DRAWN_COUNT, "val", 2)
    found = {}
    for name, flags in (("published", ()), ("running", ("--norm_stats=running", "--dropout=off"))):
        output = tmp_path / name
        assert cli.main(["evaluate", f"--workdir={trained}", "--metrics=l1", f"--output={output}", *flags]) == 0
        found[name] = json.loads((output / "metrics.json").read_text())
    assert found["running"]["inference"] == {"norm_stats": "running", "dropout": "off", "weights": "latest"}
    assert found["running"]["mean"]["l1"] != found["published"]["mean"]["l1"]
    assert cli.main(["evaluate", f"--workdir={trained}", "--weights=ema"]) == 2
    assert "config.inference.weights: ema, but ema_decay is 0" in capsys.readouterr().err
