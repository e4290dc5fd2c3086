"""The loops of docs/launching, run as they stand there with a `pix2pix` that ends in a given way."""

import os
import pathlib
import re
import subprocess

import pytest

from pix2pix_jax.runtime import exits

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "launching"
AGAIN = (exits.EXIT_TRY_AGAIN, 134, 137, 143)  # preempted; SIGABRT, SIGKILL, SIGTERM as shells report them
NOT_AGAIN = (0, 1, exits.EXIT_USER_ERROR, exits.EXIT_INTERRUPTED, exits.EXIT_UNHEARD)


def snippets(page: str) -> list[str]:
    return re.findall(r"^```\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


def snippet(page: str, word: str) -> str:
    (found,) = [text for text in snippets(page) if word in text]
    return found


@pytest.fixture
def bash(tmp_path):
    """bash(script, codes) -> (how often pix2pix was started, how often the job was requeued, the exit code)."""

    def bash(script: str, codes: tuple[int, ...]) -> tuple[int, int, int]:
        tmp_path.joinpath("codes").write_text("".join(f"{code}\n" for code in codes))
        programs = {
            "pix2pix": 'echo >> starts; code=$(sed -n "$(wc -l < starts)p" codes); exit ${code:-99}',
            "srun": 'shift; exec "$@"',
            "scontrol": 'echo "$@" >> requeues',
            "sleep": "exit 0",
        }
        for name, body in programs.items():
            path = tmp_path / name
            path.write_text(f"#!/bin/bash\n{body}\n")
            path.chmod(0o755)
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        environment = {"PATH": path, "SCRATCH": str(tmp_path), "SLURM_JOB_ID": "7"}
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, timeout=20, check=False)
        counts = [
            len((tmp_path / name).read_text().split("\n")) - 1 if (tmp_path / name).exists() else 0
            for name in ("starts", "requeues")
        ]
        return *counts, done.returncode

    return bash


def test_no_page_has_a_loop_that_is_not_tried_here():
    loops = [
        (page.name, text)
        for page in DOCS.glob("*.md")
        for text in [page.read_text()]
        if re.search(r"\b(until|while)\b[^\n]*pix2pix|; do pix2pix|Restart=", text)
    ]
    assert [name for name, _ in loops] in ([], ["README.md"]), loops  # that one starts two processes, once each


@pytest.mark.parametrize("last", NOT_AGAIN)
def test_the_shell_loop_goes_on_only_where_that_helps(bash, last):
    assert bash(snippet("gpus.md", "while true"), (*AGAIN, last)) == (len(AGAIN) + 1, 0, last)


@pytest.mark.parametrize("code", AGAIN + NOT_AGAIN)
def test_the_slurm_job_is_queued_again_only_where_that_helps(bash, code):
    script = snippet("slurm.md", "scontrol requeue").replace(".venv/bin/pix2pix", "pix2pix")
    starts, requeues, returned = bash(script, (code,))
    assert (starts, requeues, returned) == ((1, 1, 0) if code in AGAIN else (1, 0, code))


def test_systemd_and_kubernetes_name_the_same_codes():
    service = snippet("gpus.md", "[Service]")
    assert "RestartForceExitStatus=75 SIGABRT SIGKILL\n" in service and "Restart=on-failure" not in service
    rules = re.findall(r"operator: (\w+), values: \[([\d, ]+)\]", snippet("tpu.md", "podFailurePolicy"))
    assert rules == [("In", "75"), ("NotIn", "134, 137, 143")]


def test_the_commands_for_a_tpu_run_in_order(tmp_path):
    """With a `gcloud` that makes one wait, and has bash read, not run, the commands for the hosts."""
    programs = {
        "gcloud": """echo "$@" >> calls
case "$*" in *describe*) [ $(grep -c describe calls) -gt 2 ] && echo ACTIVE || echo WAITING;; esac
for a; do case "$a" in --command=*) bash -n -c "${a#--command=}" || echo bad >> bad;; esac; done""",
        "sleep": "exit 0",
    }
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    script = snippet("tpu.md", "--node-id=pix2pix")
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=environment, timeout=20, check=True)
    calls = (tmp_path / "calls").read_text()
    order = ["queued-resources create", "queued-resources describe", "uv venv", "pix2pix prepare",
             "pix2pix train --config=facades --workdir=gs://my-bucket/facades", "tail -f", "pkill -TERM",
             "queued-resources delete pix2pix"]  # fmt: skip
    places = [calls.index(text) for text in order]
    assert places == sorted(places) and calls.count("describe") == 3
    several = "ZONE=z\n" + snippet("tpu.md", "--node-count=2") + '\non_all "cd pix2pix_jax"'
    subprocess.run(["bash", "-e", "-c", several], cwd=tmp_path, env=environment, timeout=20, check=True)
    last = (tmp_path / "calls").read_text().splitlines()[-1]
    assert last == "compute tpus queued-resources ssh pix2pix --zone=z --node=all --worker=all --command=cd pix2pix_jax"
    assert not (tmp_path / "bad").exists()
