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
    if not isinstance(values, dict):
        return False
    values = {**NO_PROGRESS, **values}
    return (
        _is_window(values["losses"])
        and all(values[name] is None or _is_evaluation(values[name]) for name in ("best", "evaluation"))
        and isinstance(values["data"], str | None)
    )


def _is_window(losses: Any) -> bool:
    if not isinstance(losses, list | tuple) or not all(isinstance(step, dict) for step in losses):
        return False
    return all(step.keys() == losses[0].keys() and all(map(_is_number, step.values())) for step in losses)


def _is_evaluation(values: Any) -> bool:
    if not isinstance(values, dict) or values.keys() != {"metric", "step", "value"}:
        return False
    return isinstance(values["metric"], str) and type(values["step"]) is int and _is_number(values["value"])


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
