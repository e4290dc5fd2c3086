"""benchmarks/start_up.py starts the real program."""

import pytest
import start_up
from conftest import TINY


@pytest.mark.heavy
def test_a_second_start_compiles_nothing(tmp_path, monkeypatch):
    # On a fast machine programs as small as these would not be worth keeping.
    monkeypatch.setitem(start_up.ENVIRONMENT, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    flags = [flag for flag in TINY if "steps" not in flag]
    flags += [
        "--config=drawn_facades",
        "--config.num_steps=3",
        "--config.log_every_steps=1",
        "--config.eval_every_steps=0",
    ]
    cache = tmp_path / "cache"
    first, files = start_up.start(flags, str(cache)), {file.name for file in cache.glob("*-cache")}
    second = start_up.start(flags, str(cache))
    assert files == {file.name for file in cache.glob("*-cache")} != set()
    for found in (first, second):
        assert found.keys() == {*start_up.PARTS, start_up.FIRST_STEP, "total"}
        assert sum(found.values()) == pytest.approx(2 * found["total"])
        assert min(found.values()) >= 0


def test_a_program_that_fails_is_named_by_its_last_words(tmp_path):
    with pytest.raises(RuntimeError, match=r"exit code 2: .*config.nothing: no such field"):
        start_up.start(["--config=facades", "--config.nothing=1"], str(tmp_path))


def test_starts_as_multiples_of_pytorchs():
    rows = {"nothing compiled": {"total": 12.0}, "pix2pix_jax": {"total": 3.0}}
    assert start_up.ratios(rows) == {}
    assert start_up.ratios(rows | {"torch": {"total": 2.0}}) == {"first": 6.0, "again": 1.5}
