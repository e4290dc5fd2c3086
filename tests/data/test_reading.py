"""Reading ahead with threads, and what reading does without."""

import functools
import subprocess
import sys
import threading

import pytest

from pix2pix_jax.data.reading import prefetch


def test_results_come_in_the_order_of_their_calls():
    later = threading.Event()

    def call(index: int) -> int:
        later.set() if index else later.wait(10)  # the first ends after the second
        return index

    assert list(prefetch((functools.partial(call, i) for i in range(20)), ahead=4, threads=2)) == list(range(20))


def test_no_more_is_called_than_may_be_ahead():
    made = []

    def calls():
        for index in range(100):
            made.append(index)
            yield lambda: None

    results = prefetch(calls(), ahead=3, threads=2)
    next(results), next(results)
    assert len(made) == 2 + 3
    results.close()


def test_closing_waits_for_running_calls_and_leaves_the_others():
    started, ended = [], []

    def call(index: int) -> None:
        started.append(index)
        threading.Event().wait(0.05)
        ended.append(index)

    results = prefetch((functools.partial(call, i) for i in range(100)), ahead=50, threads=1)
    next(results)
    results.close()
    assert started == ended and len(started) < 10


def test_an_error_comes_where_its_result_would():
    results = prefetch(iter([lambda: 1, lambda: 1 / 0, lambda: 3]), ahead=3, threads=3)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_training_starts_without_what_few_runs_need():
    """They would add seconds to its start, and on machines without them it would not start at all."""
    heavy = {"grain", "dm_pix", "imagecodecs", "tifffile", "tensorflow_datasets", "tensorflow", "matplotlib"}
    program = f"import sys, pix2pix_jax.training.train; print(*{heavy!r}.intersection(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
