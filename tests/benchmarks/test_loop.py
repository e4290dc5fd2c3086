"""How benchmarks/loop.py sorts the times of a run."""

import loop
import pytest
from PIL import Image


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (12200, {"log": 50, "sample": 400, "checkpoint": 4000}),  # as usual
        (80000, {"log": 50, "sample": 400, "checkpoint": 4000}),
        (40, {"log": 1, "sample": 4, "checkpoint": 12}),
        (1000, {"log": 12, "sample": 96, "checkpoint": 288}),
        (6, {"log": 1, "sample": 2, "checkpoint": 2}),
    ],
)
def test_periods(steps, expected):
    wanted = loop.periods(steps)
    assert wanted == expected
    assert wanted["sample"] % wanted["log"] == wanted["checkpoint"] % wanted["sample"] == 0


def test_stretches_are_sorted_by_what_begins_them():
    wanted = {"log": 2, "sample": 4, "checkpoint": 8}
    # A step takes 10 ms, samples 100 ms, samples with a checkpoint 1000 ms.
    seconds = {2: 0.02, 4: 0.04, 6: 0.16, 8: 0.18, 10: 1.2, 12: 1.22, 14: 1.34}
    run = loop.split({step: 5 + time for step, time in seconds.items()}, wanted, 2000.0)
    assert run.plain == pytest.approx([10, 10, 10])
    assert run.sample == pytest.approx([100, 100])
    assert run.checkpoint == pytest.approx([1000])
    assert run.step == pytest.approx(10)
    assert run.all_in == pytest.approx(10 + 100 * (1 / 400 - 1 / 4000) + 1000 / 4000)


def test_a_run_without_events():
    run = loop.split({2: 0.0, 4: 0.02, 6: 0.04}, {"log": 2, "sample": 100, "checkpoint": 100}, 1.0)
    assert run.all_in == run.step == pytest.approx(10)


def test_drawn_pairs_are_files_of_two_halves(tmp_path):
    folder = loop.drawn.write(str(tmp_path / "drawn"), size=(32, 48), count=4)
    names = sorted(str(file.relative_to(folder)) for file in (tmp_path / "drawn").rglob("*.jpg"))
    assert names == ["train/000.jpg", "train/001.jpg", "train/002.jpg", "train/003.jpg", "val/000.jpg"]
    assert Image.open(tmp_path / "drawn" / names[0]).size == (96, 32)
