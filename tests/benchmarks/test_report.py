"""What benchmarks/report.py makes of systems, and which flags it takes."""

import json
import sys
import time

import pytest
import report


def system(seconds: float) -> report.System:
    return report.System(turn=lambda calls: time.sleep(calls * seconds), precision="float32, as a test", how="asleep")


def broken() -> report.System:
    raise RuntimeError("no\ncompiler")


def breaks_when_run() -> report.System:
    def turn(calls: int) -> None:
        raise MemoryError("too much")

    return report.System(turn=turn, precision="float32")


@pytest.fixture(scope="module")
def compared():
    others = {"slower": lambda: system(0.06), "broken": broken, "breaking": breaks_when_run}
    return report.compare(lambda: system(0.02), others, rounds=3, seconds=0.1, images=4, gflop=0.5)


def test_ratios_are_of_speeds(compared):
    assert compared["ratios"].keys() == {"slower"}
    assert 1.6 < compared["ratios"]["slower"] < 4


def test_rates_follow_from_the_median(compared):
    row = compared["systems"][report.OURS]
    assert row["low"] <= row["ms"] <= row["high"]
    assert row["images_per_s"] == pytest.approx(4e3 / row["ms"])
    assert row["gflop_per_s"] == pytest.approx(500 / row["ms"])
    assert row["share_of_ceiling"] == pytest.approx(row["gflop_per_s"] / compared["ceiling_gflop_per_s"]["float32"])
    assert (row["precision"], row["how"]) == ("float32, as a test", "asleep")


def test_what_fails_is_left_out_with_its_reason(compared):
    assert compared["left_out"] == {"broken": "RuntimeError: no compiler", "breaking": "MemoryError: too much"}


def test_the_last_line_is_json(compared, capsys):
    report.finish("test", {"jax": "0"}, compared)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found == {"benchmark": "test", "machine": {"jax": "0"}, **compared}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--against=tensorflow"], "--against=tensorflow: must be of torch"),
        (["--round=3"], "--round=3: not a flag"),
        (["3"], "3: not a flag"),
    ],
)
def test_mistakes(flags, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["program", *flags])
    with pytest.raises(SystemExit, match="2"):
        report.parse(report.parser("A test."))
    assert message in capsys.readouterr().err


def test_jax_leaves_memory_to_systems_beside_it(monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "")
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE")
    for flags, expected in (([], None), (["--against=torch"], "false")):
        monkeypatch.setattr(sys, "argv", ["program", "--config.batch_size=4", *flags])
        _, overrides = report.parse(report.parser("A test."))
        assert overrides == ["--config.batch_size=4"]
        assert report.os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE") == expected
