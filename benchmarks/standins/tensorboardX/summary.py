"""Summaries of nothing."""

from typing import Any

from tensorboardX.proto import Empty


def scalar(name: str, value: float) -> Empty:
    return Empty(value=[Empty()])


def image(name: str, pixels: Any, dataformats: str) -> Empty:
    return Empty()
