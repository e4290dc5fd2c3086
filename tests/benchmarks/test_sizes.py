"""benchmarks/sizes.py: what it counts and compiles, the rows it keeps, and its tables."""

import json

import pytest
import sizes

from pix2pix_jax import configuration as config_lib

TINY = (
    "--config.image_size=32,32",
    "--config.resize_size=36,36",
    "--config.generator.features=8",
    "--config.discriminator.features=8",
    "--config.discriminator.num_layers=1",
)


@pytest.fixture(scope="module")
def row():
    """Of a batch of 128, whose activations are more than the gradients."""
    return sizes.measure("default", [*TINY, "--config.batch_size=128"])


@pytest.mark.heavy
def test_what_a_step_holds(row):
    batch = 2 * 128 * 36 * 36 * 3
    assert 12 * row["parameters"] < row["state"] < 12.5 * row["parameters"]
    assert row["temporary"] > 4 * row["parameters"]  # gradients, all of them at the end
    assert row["memory"] == pytest.approx(row["state"] + batch + row["temporary"], rel=1e-3)
    assert row["estimate"] and "ms" not in row


@pytest.mark.heavy
def test_what_saves_memory(row):
    half = sizes.measure("default", [*TINY, "--config.batch_size=128", "--config.compute_dtype=bfloat16"])
    assert (half["state"], half["flops"]) == (row["state"], row["flops"])
    gradients = 4 * row["parameters"]
    assert half["temporary"] - gradients == pytest.approx((row["temporary"] - gradients) / 2, abs=1)
    assert row["memory"] - half["memory"] == row["temporary"] - half["temporary"]
    parts = sizes.measure("default", [*TINY, "--config.batch_size=128", "--config.accumulate_steps=128"])
    assert parts["temporary"] < 0.5 * row["temporary"]


@pytest.mark.heavy
def test_time_is_measured_where_it_is_asked_for():
    row = sizes.measure("default", [*TINY, "--config.batch_size=1"], seconds=0.05)
    assert 0 < row["ms"] < 10_000


@pytest.mark.heavy
def test_the_suite_keeps_what_is_done(tmp_path, capfd):
    path = tmp_path / "rows.jsonl"
    sizes.run_suite([TINY], path, seconds=0)
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["overrides"] == list(TINY) and "32x32" in capfd.readouterr().out
    sizes.run_suite([TINY], path, seconds=0)
    assert path.read_text() == line + "\n"


def test_cases_are_configs_and_none_is_there_twice():
    cases = sizes.suite()
    assert len(set(cases)) == len(cases)
    for overrides in cases:
        config_lib.load("default", overrides)


def made_row(*fields: str, batch: int, memory: float, **more) -> dict:
    overrides = list(sizes.case(512, batch, *fields))
    known = {"parameters": 6e7, "flops": 3e12, "state": 7e8, "temporary": memory - 7e8, "memory": memory}
    return {"overrides": overrides, **known, **more}


def test_tables():
    rows = [
        made_row(batch=1, memory=0.9e9),  # more than the two largest would say: gradients
        made_row(batch=4, memory=2.8e9),
        made_row(batch=8, memory=4.8e9, ms=300.0),
        made_row("remat=True", batch=4, memory=2.0e9),
        made_row("accumulate_steps=2", batch=4, memory=2.0e9),
    ]
    costs = sizes.costs_table(rows).splitlines()
    assert costs[4] == "| 512x512 | 8 | 64 | float32 | 60.0 M | 3e+03 | 0.70 | 4.10 | 4.80 | 300 ms, 10 TFLOP/s |"
    assert "| float32, remat |" in costs[5] and "| float32, accumulate_steps=2 |" in costs[6]
    # 0.5 GB an image beside 0.8 GB: of 0.6 x 8 GB 8 images, of 0.6 x 16 GB 17, ...
    assert sizes.fits_table(rows).splitlines()[2:] == ["| 512x512 | float32 | 0.5 | 8 | 16 | 16 | 32 | 64 |"]
    huge = [made_row(batch=batch, memory=batch * 10e9) for batch in (1, 2)]
    assert sizes.fits_table(huge).splitlines()[2:] == ["| 512x512 | float32 | 10 | none | none | 1 | 2 | 4 |"]
    failed = {key: value for key, value in made_row(batch=64, memory=1e9).items() if key not in ("memory", "flops")}
    assert sizes.costs_table([failed | {"error": "out of memory"}]).endswith("|  |  |  | out of memory |  |")
