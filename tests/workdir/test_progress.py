"""Progress as strangers might write it."""

import json

import pytest

from pix2pix_jax.workdir.progress import NO_PROGRESS, is_progress

WHOLE = {
    "losses": [{"g_l1": 0.5, "g_gan": 1}, {"g_l1": 0.25, "g_gan": 2.0}],
    "best": {"metric": "l1", "step": 3, "value": 0.25},
    "evaluation": None,
    "data": "eJw=",
}


@pytest.mark.parametrize("progress", [WHOLE, dict(NO_PROGRESS), {}, {"losses": [], "rollbacks": 0, "best": None}])
def test_what_runs_of_any_version_save(progress):
    assert is_progress(json.loads(json.dumps(progress)))


@pytest.mark.parametrize(
    "change",
    [
        {"losses": None},
        {"losses": {"g_l1": 0.5}},
        {"losses": [0.5]},
        {"losses": [{"g_l1": "0.5"}]},
        {"losses": [{"g_l1": 0.5}, {"g_gan": 0.5}]},
        {"losses": [{"g_l1": float("nan")}]},
        {"best": "3"},
        {"best": {"step": 3}},
        {"evaluation": {"metric": "l1", "step": "3", "value": 0.25}},
        {"evaluation": {"metric": "l1", "step": True, "value": 0.25}},
        {"evaluation": {"metric": ["l1"], "step": 3, "value": 0.25}},
        {"data": ["a.png"]},
    ],
)
def test_what_none_does(change):
    assert not is_progress(WHOLE | change)
