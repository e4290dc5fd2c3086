"""The cases and goals of benchmarks/suite.py."""

import argparse
import pathlib
import sys
import time

import pytest
import suite

CASES = [(f"{device}-{name}", case) for device in ("ON_GPU", "ON_CPU") for name, case in getattr(suite, device).items()]
ARGUMENTS = argparse.Namespace(quick=False, data_dir="facades")


@pytest.mark.parametrize(("name", "case"), CASES, ids=[name for name, _ in CASES])
def test_commands(name, case):
    _, program, *flags = case.command(ARGUMENTS)
    assert pathlib.Path(program).is_file()
    assert ("--data_dir=facades" in flags) == case.data
    quick = case.command(argparse.Namespace(quick=True, data_dir="facades"))
    assert not any("data_dir" in flag for flag in quick)


def result(ms: float) -> dict:
    return {"systems": {"pix2pix_jax": {"ms": ms}}, "ratios": {"torch": 10.0}, "overhead": {"all_in": 0.05}}


def test_goals_are_judged():
    rows = suite.judge("loop", suite.ON_GPU["loop"], result(1.4))
    assert [(round(row["reached"], 3), row["met"]) for row in rows if row["reached"] is not None] == [
        (10.0, True),
        (1.4, True),
        (5.0, False),
    ]
    (missing,) = [row for row in rows if row["reached"] is None]
    assert "torch tuned" in missing["goal"] and missing["met"] is None
    assert all(row["met"] is None for row in suite.judge("loop", suite.ON_GPU["loop"], {"error": "exit code 1"}))


def test_the_table():
    rows = suite.judge("loop", suite.ON_GPU["loop"], result(1.6))
    lines = suite.table(rows).splitlines()
    assert lines[2] == "| loop | at least 5 x the speed of torch | 10 x | met |"
    assert lines[3] == "| loop | at least 1.5 x the speed of torch tuned | not measured |  |"
    assert lines[4] == "| loop | a step of the whole loop in at most 1.5 ms | 1.6 ms | missed |"


def test_a_case_gives_its_last_line(capfd):
    code = "print('a table'); print('{\"answer\": 1}')"
    found = suite.run([sys.executable, "-c", code], timeout=60)
    assert found["answer"] == 1
    assert "a table" in capfd.readouterr().out


def test_a_case_that_fails_or_lasts_is_an_error():
    assert suite.run([sys.executable, "-c", "raise SystemExit(3)"], timeout=60) == {"error": "exit code 3"}
    begin = time.monotonic()
    assert suite.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.5) == {"error": "longer than 0 s"}
    assert time.monotonic() - begin < 30
