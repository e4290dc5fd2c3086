"""Defines what a checkpoint holds beside the state, as JSON.

"losses": those of each step since the last log line, which the next line averages. "best": the best evaluation so far,
and "evaluation": that of this state if there was one, each {"metric": name, "step": number, "value": number} or None.
"data": the fingerprint of the training data (`data/sources/fingerprint.py`), or None.
"""

import math
import types
from typing import Any

NO_PROGRESS = types.MappingProxyType({"losses": (), "best": None, "evaluation": None, "data": None})


def is_progress(values: Any) -> bool:
    """Returns whether values read from a file can be a run's progress; fields of other versions may be missing."""
    match isinstance(values, dict) and {**NO_PROGRESS, **values}:
        case {"losses": [*losses], "best": best, "evaluation": evaluation, "data": str() | None}:
            return _are_losses(losses) and all(x is None or _is_evaluation(x) for x in (best, evaluation))
    return False


def _are_losses(steps: list) -> bool:
    numbers = all(isinstance(step, dict) and all(map(_is_number, step.values())) for step in steps)
    return numbers and all(step.keys() == steps[0].keys() for step in steps)


def _is_evaluation(value: Any) -> bool:
    match value:
        case {"metric": str(), "step": step, "value": number, **others}:
            return not others and type(step) is int and _is_number(number)
    return False


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
