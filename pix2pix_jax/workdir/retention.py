"""Which checkpoints of a run are kept."""

from collections.abc import Iterable, Sequence


def kept(steps: Iterable[int], *, keep: int, period: int, best: int | None) -> set[int]:
    """The latest `keep` of those that `period` called for, the latest of all, and the best.

    One that was written in between, because the run was stopped or was the best so far, thus never takes the place of
    one that was called for: a run that was stopped has the same ones to go back to as one that was not.

    Args:
      steps: of all checkpoints.
      keep: at least 1.
      period: of checkpoints, in steps; 0: none are called for, and all count.
      best: the step of the best one so far.
    """
    steps = sorted(steps)
    called_for = [step for step in steps if not period or step % period == 0]
    return {*called_for[-keep:], *steps[-1:], *({best} & set(steps))}


class Retention:
    """`kept` as orbax asks for it; `best` may change."""

    def __init__(self, *, keep: int, period: int):
        self._keep, self._period = keep, period
        self.best: int | None = None

    def should_preserve(self, checkpoints: Sequence, *, context: object) -> list[bool]:
        """For each of the checkpoints, which have a `step`."""
        wanted = kept((info.step for info in checkpoints), keep=self._keep, period=self._period, best=self.best)
        return [info.step in wanted for info in checkpoints]
