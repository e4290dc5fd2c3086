"""What tests of the command line share: pairs to train on, and how a mistake is to end."""

import re

import numpy as np
from PIL import Image

from pix2pix_jax import cli


def write_pairs(folder, count, *, size=(32, 64), kind="jpg"):
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(count)
    for i in range(count):
        Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(folder / f"{size[0]}-{i}.{kind}")
    return folder


def lines(stderr):
    """What is left to see of stderr; progress bars overwrite themselves after a carriage return."""
    return [line for line in re.split(r"[\r\n]+", stderr) if line.strip()]


def assert_refused(result, *words, after_bars=False):
    """Exit code 2 and an error with `words`: the only line of stderr, or the last where progress bars came before."""
    code, _, stderr = result
    assert code == cli.EXIT_USER_ERROR
    assert "Traceback" not in stderr
    seen = lines(stderr)
    assert after_bars or len(seen) == 1, seen
    assert re.match(r"pix2pix( [\w-]+)?: error: ", seen[-1]), seen
    assert all(str(word) in seen[-1] for word in words), (seen[-1], words)


def snapshot(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
