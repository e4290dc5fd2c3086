"""An overview of nothing."""

from typing import Any


def get_parameter_overview(params: Any, include_stats: bool = True) -> str:
    return "(no overview of parameters without clu)"
