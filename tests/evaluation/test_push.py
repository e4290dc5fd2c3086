"""A model goes to the Hub and comes back, through huggingface_hub and a server on 127.0.0.1."""

import io
import json
import logging
import shutil

import fake_hub
import jax
import numpy as np
import pytest
import yaml
from huggingface_hub import constants
from PIL import Image

from pix2pix_jax.demo import examples
from pix2pix_jax.errors import UserError
from pix2pix_jax.inference import trained_model

TOKEN = "hf_averysecrettokenindeed"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The server, which huggingface_hub talks to as it would with HF_ENDPOINT and HF_TOKEN set at its import."""
    with fake_hub.serve() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    """A copy of the tiny run with an evaluation of its last step, which has two examples."""
    workdir = shutil.copytree(trained, tmp_path_factory.mktemp("evaluated") / "run")
    folder = workdir / "eval" / "val-6"
    (folder / "images").mkdir(parents=True)
    records = []
    for index in range(2):
        files = {column: f"images/{index}-{column}.png" for column in ("input", "output", "target")}
        for file in files.values():
            Image.new("RGB", (32, 32), (index * 100, 0, 0)).save(folder / file)
        records.append({"name": f"{index}.png", "files": files, "l1": 0.25})
    report = {"num_examples": 2, "mean": {"l1": 0.25, "psnr": None}, "total": {"fid": 100.5}, "images": records}
    (folder / "metrics.json").write_text(json.dumps(report))
    return workdir


def test_a_model_comes_back_in_the_same_bits(evaluated, hub, run, capsys, caplog):
    caplog.set_level(logging.DEBUG)
    code, out, errors = run("push", f"--workdir={evaluated}", "--repo=someone/facades")
    assert code == 0, errors
    files = hub.repositories["someone/facades"]
    assert sorted(files) == ["README.md", "config.json", "model.safetensors", "pictures.png"]
    before, after = trained_model.load(evaluated), trained_model.load("hf://someone/facades")
    jax.tree.map(np.testing.assert_array_equal, before.variables, after.variables)
    assert (after.step, after.config.generator.features) == (6, 8)
    assert f"Bearer {TOKEN}" in hub.tokens
    assert "hf://someone/facades" in out and "licence" in out
    assert TOKEN not in out + errors + caplog.text + "".join(map(repr, files.values()))


def test_the_card_tells_of_the_run(evaluated, hub, run):
    run("push", f"--workdir={evaluated}", "--repo=someone/facades")
    files = hub.repositories["someone/facades"]
    card = files["README.md"].decode()
    matter = yaml.safe_load(card.split("---")[1])
    assert (matter["library_name"], matter["pipeline_tag"]) == ("pix2pix_jax", "image-to-image")
    results = {r["type"]: r["value"] for r in matter["model-index"][0]["results"][0]["metrics"]}
    assert results == {"l1": 0.25, "fid": 100.5}
    for text in ('load("hf://someone/facades")', "| l1 | 0.2500 |", "| generator.features | 8 |", "To be filled in",
                 "drawn_facades", "(pictures.png)", "Split val, 2 pairs"):  # fmt: skip
        assert text in card, text
    assert Image.open(io.BytesIO(files["pictures.png"])).size == (96, 64)
    assert str(evaluated) not in card + files["config.json"].decode()
    assert json.loads(files["config.json"])["config"]["generator"]["features"] == 8


def test_a_card_that_someone_filled_in_stays(evaluated, hub, run):
    hub.repositories["someone/facades"] = {"README.md": b"mine"}
    code, out, _ = run("push", f"--workdir={evaluated}", "--repo=hf://someone/facades")
    assert (code, hub.repositories["someone/facades"]["README.md"]) == (0, b"mine")
    assert "README.md is kept" in out


def test_without_an_evaluation_the_card_says_so(trained, hub, run):
    code, out, _ = run("push", f"--workdir={trained}", "--repo=someone/facades")
    assert code == 0 and "is not evaluated" in out
    assert b"Not evaluated" in hub.repositories["someone/facades"]["README.md"]


@pytest.mark.parametrize("status, message", [(401, "auth login"), (403, "auth login"), (400, r"refuses (")])
def test_no_refusal_shows_the_token(evaluated, hub, run, status, message, caplog):
    hub.refuse = status
    code, out, errors = run("push", f"--workdir={evaluated}", "--repo=someone/facades")
    assert code == 2 and message in errors and len(errors.splitlines()) == 1, errors
    assert TOKEN not in out + errors + caplog.text


def test_mistakes_of_names(evaluated, hub, run):
    with pytest.raises(UserError, match="hf://no/such: no such repository"):
        trained_model.load("hf://no/such")
    hub.repositories["someone/other"] = {}
    with pytest.raises(UserError, match=r"hf://someone/other: holds no model\.safetensors"):
        trained_model.load("hf://someone/other")
    for name in ("facades", "a/b/c", "a/..\n", ""):
        with pytest.raises(UserError, match="not a name on the Hub"):
            trained_model.load(f"hf://{name}")
    code, _, errors = run("push", "--workdir=hf://someone/facades", "--repo=a/b")
    assert code == 2 and "give the run's workdir" in errors
    code, _, errors = run("evaluate", "--workdir=hf://someone/facades")
    assert code == 2 and "where the data are" in errors


def test_the_page_to_draw_on_takes_a_model_of_the_hub(tiny_config):
    config = tiny_config("--config.dataset=folder", "--config.data_dir=/no/such/folder")
    assert examples.find(config, "hf://someone/facades") == []  # no pictures, and no error
