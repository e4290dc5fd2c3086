"""docs/tips.md: fields take the values that it names, commands parse, and numbers are those of memory.md."""

import pathlib
import re
import shlex

import pytest

from pix2pix_jax import configuration, flags

DOCS = pathlib.Path(__file__).parents[1] / "docs"
TIPS = (DOCS / "tips.md").read_text()
SPANS = re.findall(r"`([^`\n]+)`", TIPS)
TOGETHER = {  # fields that need one more
    "image_size=128,128": ["--config.resize_size=143,143"],
    "resize_size=143,143": ["--config.image_size=128,128"],
    "image_size=256,512": ["--config.resize_size=286,572"],
    "best_metric=lpips": ["--config.eval_metrics=l1,lpips"],
}


@pytest.mark.parametrize("setting", sorted({span for span in SPANS if re.fullmatch(r"[a-z]\w*(\.\w+)*=\S+", span)}))
def test_a_setting_can_be_used(setting):
    configuration.load("default", [f"--config.{setting}", *TOGETHER.get(setting, ())])


def test_its_other_names_are_fields():
    fields = configuration.flatten(configuration.load("default"))
    names = [span for span in SPANS if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+|(generator|discriminator)\.\w+", span)]
    assert len(names) > 4
    assert not set(names) - set(fields)


@pytest.mark.parametrize("command", [span for span in SPANS if span.startswith("pix2pix ") and "--" in span])
def test_a_command_parses(command):
    _, rest = flags.parser().parse_known_args(shlex.split(command)[1:])
    assert not rest


def table(page: str) -> list[list[str]]:
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in page.splitlines() if re.match(r"\| \d+x\d+ \|", line)]
    return [row for row in rows if len(row) >= 7]


def test_what_fits_is_what_memory_says():
    known = {
        (size, kind): fits for size, kind, _, *fits in (row[:8] for row in table((DOCS / "memory.md").read_text()))
    }
    rows = table(TIPS)
    assert len(rows) == 6
    for size, kind, *fits in rows:
        assert fits == known[size, "bfloat16, remat" if kind == "saving" else "float32"]
