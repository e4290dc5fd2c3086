"""Completion scripts, in a real shell."""

import contextlib
import io
import subprocess

import pytest

from pix2pix_jax import cli, configuration

# As bash calls a completion function: the words so far, of which = is one, and the place of the last.
ASK = """
eval "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
$(complete -p pix2pix | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def complete():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert cli.main(["completion", "bash"]) == 0

    def complete(*words):
        command = ["bash", "-c", ASK, "bash", out.getvalue(), "pix2pix", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    return complete


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("comp",), {"compare", "completion"}),
        (("train", "--config", "=", "fac"), {"facades"}),
        (("train", "--config", "fac"), {"facades"}),
        (("configs", "ma"), {"maps_aerial2map", "maps_map2aerial"}),
        (("train", "--config", "=", "facades", "--config.generator.na"), {"--config.generator.name"}),
        (("prepare", "--config.dataset", "=", "f"), {"facades", "folder"}),
        (("evaluate", "--split", "=", "v"), {"val"}),
        (("evaluate", "--config"), set()),
    ],
)
def test_bash_completes(complete, words, expected):
    assert set(complete(*words)) == expected


def test_bash_completes_every_config_after_the_equals_sign(complete):
    assert set(complete("train", "--config", "=")) == set(configuration.names())


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_have_scripts(run, shell):
    code, out, _ = run("completion", shell)
    assert code == 0 and "config.batch_size" in out and "facades" in out
