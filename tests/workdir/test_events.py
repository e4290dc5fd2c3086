"""Event files over several starts of a run."""

import time

from etils import epath

from pix2pix_jax.workdir import events


def test_a_clock_that_is_set_back_does_not_change_the_order_of_files(tmp_path, monkeypatch):
    made = []
    for now in (2_000_000_000.0, 1_000_000_000.0, 1_000_000_000.0, 2_000_000_000.5):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        before = set(tmp_path.iterdir())
        events.EventLog(epath.Path(tmp_path), start=0).close()
        made += sorted(set(tmp_path.iterdir()) - before)
    assert made == sorted(tmp_path.iterdir()) and len(made) == 4
