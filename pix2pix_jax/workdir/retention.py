"""Decides which checkpoints of a run are kept."""

from collections.abc import Iterable, Sequence


def kept(steps: Iterable[int], *, keep: int, period: int, best: int | None) -> set[int]:
    """Returns the steps to keep: the latest `keep` multiples of `period` (0: of all), the latest of all, and the best.

    Checkpoints at other steps, written when the run was stopped or was at its best so far, do not count towards `keep`,
    which is at least 1. So an interrupted run has the same checkpoints to go back to as one that was not.
    """
    steps = sorted(steps)
    regular = [step for step in steps if not period or step % period == 0]
    return {*regular[-keep:], *steps[-1:], *({best} & set(steps))}


class Retention:
    """Applies `kept` as an orbax preservation policy; the run sets `best`."""

    def __init__(self, *, keep: int, period: int):
        self._keep, self._period = keep, period
        self.best: int | None = None

    def should_preserve(self, checkpoints: Sequence, *, context: object) -> list[bool]:
        """Returns whether to keep each checkpoint; they have a `step`."""
        wanted = kept((info.step for info in checkpoints), keep=self._keep, period=self._period, best=self.best)
        return [info.step in wanted for info in checkpoints]
