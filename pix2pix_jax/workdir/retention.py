"""Decides which checkpoints of a run are kept."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(kw_only=True)
class Retention:
    """Keeps the latest `keep` multiples of `period` (0: of all steps), the latest of all, and the best.

    Checkpoints at other steps, written when the run was stopped or was at its best so far, do not count towards `keep`,
    which is at least 1. So an interrupted run has the same checkpoints to go back to as one that was not. An orbax
    preservation policy, whose `best` the run sets to a step.
    """

    keep: int
    period: int
    best: int | None = None

    def should_preserve(self, checkpoints: Sequence, *, context: object = None) -> list[bool]:
        """Returns whether to keep each checkpoint; they have a `step`."""
        steps = sorted(info.step for info in checkpoints)
        regular = [step for step in steps if not self.period or step % self.period == 0]
        kept = {*regular[-self.keep :], *steps[-1:], self.best}
        return [info.step in kept for info in checkpoints]
