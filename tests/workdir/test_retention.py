"""Which checkpoints stay: those that were called for are never pushed out by others."""

import types

from hypothesis import given
from hypothesis import strategies as st

from pix2pix_jax.workdir.retention import Retention


def kept(steps, **options) -> set[int]:
    checkpoints = [types.SimpleNamespace(step=step) for step in steps]
    preserved = Retention(**options).should_preserve(checkpoints)
    return {step for step, is_kept in zip(steps, preserved, strict=True) if is_kept}


def test_the_latest_that_were_called_for_the_latest_of_all_and_the_best():
    steps = [100, 150, 200, 230, 300, 400, 430]
    assert kept(steps, keep=2, period=100, best=150) == {150, 300, 400, 430}
    assert kept(steps, keep=2, period=100, best=None) == {300, 400, 430}
    assert kept(steps, keep=2, period=0, best=None) == {400, 430}
    assert kept([], keep=1, period=5, best=3) == set()


@given(
    steps=st.sets(st.integers(1, 60), min_size=1),
    extra=st.sets(st.integers(1, 60)),
    keep=st.integers(1, 4),
    period=st.integers(1, 10),
)
def test_what_is_written_in_between_changes_nothing_of_what_was_called_for(steps, extra, keep, period):
    """As of a run that was stopped more often, or had a best state more often."""

    def called_for(kept_steps):
        return {step for step in kept_steps if step % period == 0}

    between = {step for step in extra if step % period}
    alone = kept(steps, keep=keep, period=period, best=None)
    best = min(between, default=None)
    assert called_for(alone) == called_for(kept(steps | between, keep=keep, period=period, best=best))
