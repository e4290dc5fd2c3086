"""Every config of configs/ trains: two steps of the program on small files of its set's layout."""

import json

import numpy as np
import pytest
from PIL import Image

from pix2pix_jax import cli
from pix2pix_jax import configuration as config_lib
from pix2pix_jax.metrics import lpips

SMALL = (
    "--config.image_size=64,64",
    "--config.resize_size=72,72",
    "--config.generator.features=2",
    "--config.discriminator.features=2",
    "--config.num_steps=2",
    "--config.log_every_steps=1",
    "--config.num_samples=1",
    "--config.mesh.data=1",
    "--config.inference.dropout=off",
)
CONFIGS = config_lib.names()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four side-by-side pairs to train on and two to validate, as sketch2cad's for the odd shape."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 2)):
        (folder / split).mkdir()
        for i in range(count):
            pixels = rng.integers(0, 256, (48, 144, 3), np.uint8)
            Image.fromarray(pixels).save(folder / split / f"{i}.jpg")
    return folder


@pytest.mark.heavy
@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_trains(name, data, tmp_path, monkeypatch):
    if name == "improved":  # whose loss needs a network
        weights = {network: np.zeros(shape, np.float32) for network, shape in lpips.shapes().items()}
        np.savez(tmp_path / "lpips.npz", **weights)
        monkeypatch.setenv("PIX2PIX_LPIPS", str(tmp_path / "lpips.npz"))
    # The largest patches need more than 64 px.
    larger = ("--config.image_size=96,96", "--config.generator.num_downs=5") if name.endswith("patch_286x286") else ()
    resized = ("--config.resize_size=104,104",) if larger else ()
    command = ["train", f"--config={name}", f"--workdir={tmp_path}", f"--config.data_dir={data}", *SMALL]
    assert cli.main([*command, *larger, *resized]) == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 2]  # the last is of its evaluation
    assert all(np.isfinite(value) for line in lines for value in line.values())
    assert (tmp_path / "samples" / "000002.png").exists()
    assert cli.main(["evaluate", f"--workdir={tmp_path}"]) == 0
