"""How benchmarks/alternate.py takes times."""

import os
import subprocess
import sys
import time

import alternate


def test_systems_take_turns():
    turns = []

    def system(name: str, seconds: float) -> alternate.Turn:
        def turn(calls: int) -> None:
            turns.append((name, calls))
            time.sleep(calls * seconds)

        return turn

    found = alternate.measure({"slow": system("slow", 0.1), "quick": system("quick", 0.02)}, rounds=3, seconds=0.2)
    measured = turns[-6:]
    assert [name for name, _ in measured] == 3 * ["slow", "quick"]
    assert {calls for name, calls in measured if name == "slow"} == {2}
    (calls,) = {calls for name, calls in measured if name == "quick"}
    assert 6 <= calls <= 10
    assert {name: len(times) for name, times in found.milliseconds.items()} == {"slow": 3, "quick": 3}


def test_times_are_milliseconds_of_a_call():
    found = alternate.measure({"sleep": alternate.one_by_one(lambda: time.sleep(0.02))}, rounds=3, seconds=0.06)
    low, median, high = alternate.quartiles(found.milliseconds["sleep"])
    assert 20 <= low <= median <= high < 200


def test_quartiles():
    assert alternate.quartiles([4.0]) == (4, 4, 4)
    assert alternate.quartiles([5.0, 1.0, 2.0, 4.0, 3.0]) == (2, 3, 4)


def test_what_other_programs_take_is_seen():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        found = alternate.measure({"sleep": alternate.one_by_one(lambda: time.sleep(0.1))}, rounds=2, seconds=0.5)
        other.kill()
    assert found.others > 0.2 / os.cpu_count()
