"""Asks for the sizes of many files at once."""

import os
from collections.abc import Sequence
from concurrent import futures

from etils import epath


def file_sizes(examples: Sequence[Sequence[epath.Path]]) -> list[str]:
    """Returns the sizes in bytes of the files of each example, as "1234+567"; "" where asking takes long."""
    threads, sizes = 16, [""] * len(examples)

    def ask(first: int) -> list[str]:
        return ["+".join(map(_file_size, files)) for files in examples[first::threads]]

    with futures.ThreadPoolExecutor(threads) as pool:
        for first, part in enumerate(pool.map(ask, range(threads))):
            sizes[first::threads] = part
    return sizes


def _file_size(path: epath.Path) -> str:
    try:
        return "" if "://" in os.fspath(path) else str(os.stat(path).st_size)
    except OSError:  # whoever reads it says what is wrong
        return ""
