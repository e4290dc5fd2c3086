"""How benchmarks/alternate.py takes times."""

import os
import subprocess
import sys
import time

import alternate


def test_systems_take_turns():
    calls = []
    found = alternate.measure({name: lambda name=name: calls.append(name) for name in "ab"}, rounds=2, steps=3)
    assert "".join(calls) == "aabb" + 2 * "aaabbb"
    assert {name: len(times) for name, times in found.milliseconds.items()} == {"a": 6, "b": 6}


def test_times_are_milliseconds():
    found = alternate.measure({"sleep": lambda: time.sleep(0.02)}, rounds=1, steps=3)
    low, median, high = alternate.quartiles(found.milliseconds["sleep"])
    assert 20 <= low <= median <= high < 2000


def test_what_other_programs_take_is_seen():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        found = alternate.measure({"sleep": lambda: time.sleep(0.1)}, rounds=1, steps=8)
        other.kill()
    assert found.others > 0.2 / os.cpu_count()
