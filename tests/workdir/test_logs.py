"""RunLog in a process that is not the main one; tests/runtime/test_processes.py has several real ones."""

import jax
import pytest
from etils import epath

from pix2pix_jax.workdir import logs


@pytest.fixture
def second(monkeypatch):
    """Makes this process the second of several."""
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(jax, "process_index", lambda: 1)


def test_another_process_writes_nothing_and_goes_on(second, tmp_path, capsys):
    with logs.RunLog(epath.Path(tmp_path), start=0, total=2, num_examples=1, batch_size=1) as log:
        for step in (1, 2):
            log.progress(step, {"g_l1": 0.5})
            log.scalars(step, {"g_l1": 0.5}, rates={"learning_rate": 1e-3})
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr() == ("", "")
