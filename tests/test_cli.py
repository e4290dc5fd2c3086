"""The command line: a mistake ends in one line, exit code 2 and nothing lost."""

import json
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from command_line import assert_refused, lines, snapshot, write_pairs

import pix2pix_jax
from pix2pix_jax import cli
from pix2pix_jax.configuration import build_model
from pix2pix_jax.data.sources import datasets
from pix2pix_jax.inference import trained_model
from pix2pix_jax.workdir.checkpoints import Checkpoints


def test_the_version_is_that_of_the_package(run):
    assert run("--version") == (0, f"pix2pix {pix2pix_jax.__version__}\n", "")


def test_help_and_no_arguments_as_a_user_starts_them():
    command = [sys.executable, "-m", "pix2pix_jax"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0 and shown.stderr == ""
    assert all(name in shown.stdout for name in ("train", "prepare", "evaluate", "compare", "translate"))
    bare = subprocess.run(command, capture_output=True, text=True, check=False)
    assert_refused((bare.returncode, bare.stdout, bare.stderr), "SUBCOMMAND", "--help")


@pytest.mark.parametrize("command", ["train", "prepare", "evaluate", "compare", "translate"])
def test_every_subcommand_has_help_and_says_what_it_needs(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0 and "--" in out
    assert_refused(run(command), "required", "--help")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("trian", "--workdir=W"), ("trian", "train")),
        (("evaluate", "--workdir=W", "--split=all"), ("--split", "all", "val")),
        (("translate", "--workdir=W", "--input=I", "--output=O", "--pairs=maybe"), ("--pairs", "maybe", "auto")),
        (("translate", "--workdir=W", "--input=I", "--output=O", "--seed=x"), ("--seed", "'x'")),
        (("translate", "--workdir=W", "--input=I", "--output=O", f"--seed={2**31}"), ("--seed=2147483648",)),
        (("evaluate", "--workdir=W", "--foo=1"), ("--foo=1",)),
        (("compare", "W", "--foo=1"), ("--foo=1",)),
        (("compare", "W", "--split=all"), ("--split", "all", "val")),
        (("compare", "W", "--examples=few"), ("--examples", "few")),
        (("compare", "W", "--examples=-1"), ("--examples=-1", "at least 1")),
        (("compare", "W"), ("W: no such folder", "--workdir")),
        (("train", "--config=default", "--workdir=W", "--foo=1"), ("foo",)),
        (("train", "--config=defualt", "--workdir=W"), ("--config=defualt", "default")),
        (
            ("train", "--config=default", "--workdir=W", "--config.generator.fetures=8"),
            ("config.generator.fetures", "config.generator.features"),
        ),
        (("train", "--config=default", "--workdir=W", "--config.batch_size=two"), ("config.batch_size=two",)),
        (("prepare", "--config=default", "--config.image_size=100,100"), ("config.image_size", "64 or 128")),
        (
            ("train", "--config=default", "--workdir=W", "--config.batch_size=3", "--config.mesh.data=2"),
            ("config.batch_size: 3",),
        ),
    ],
)
def test_wrong_flags(run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert_refused(run(*arguments), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (("train", "--config=default", "--workdir="), "--workdir=: empty"),
        (("train", "--config=", "--workdir=W"), "--config=: empty"),
        (("prepare", "--config=default", "--output="), "--output=: empty"),
        (("evaluate", "--workdir="), "--workdir=: empty"),
        (("evaluate", "--workdir=W", "--output="), "--output=: empty"),
        (("evaluate", "--pictures=P", "--targets=", "--output=O"), "--targets=: empty"),
        (("evaluate", "--workdir=W", "--segmenter="), "--segmenter=: empty"),
        (("evaluate", "--workdir=W", "--palette="), "--palette=: empty"),
        (("compare", "W", ""), "WORKDIR: empty"),
        (("compare", "W", "--output="), "--output=: empty"),
        (("translate", "--workdir=W", "--input=", "--output=O"), "--input=: empty"),
        (("translate", "--workdir=W", "--input=I", "--output="), "--output=: empty"),
        (("import-torch", "--config=default", "--generator=", "--workdir=W"), "--generator=: empty"),
        (("import-torch", "--config=default", "--generator=G", "--workdir="), "--workdir=: empty"),
        (("export", "--workdir=W", "--output="), "--output=: empty"),
    ],
)
def test_an_unset_variable_of_a_shell_is_refused(run, tmp_path, monkeypatch, arguments, flag):
    """An empty folder would be the current one."""
    monkeypatch.chdir(tmp_path)
    code, _, stderr = run(*arguments)
    assert code == cli.EXIT_USER_ERROR and f"error: {flag}" in stderr and len(lines(stderr)) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "environment", [{"SLURM_STEP_NUM_TASKS": "2"}, {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}]
)
@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "--workdir=W"),
        ("translate", "--workdir=W", "--input=I", "--output=O"),
        ("prepare", "--config=default"),
        ("compare", "W"),
        ("import-torch", "--config=default", "--generator=G", "--workdir=W"),
        ("export", "--workdir=W", "--output=G.pth"),
    ],
)
def test_only_training_is_done_by_several_tasks(run, tmp_path, monkeypatch, environment, arguments):
    """Each of them would write the same files."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert_refused(run(*arguments), "2 tasks were started", "srun --ntasks=1")


def test_one_task_of_slurm_is_as_good_as_none(run, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert_refused(run("compare", tmp_path / "W"), "no such folder")


def test_a_directory_that_is_missing_or_empty(train, tmp_path):
    assert_refused(train(tmp_path / "missing"), tmp_path / "missing", "no such directory", "config.data_dir")
    (tmp_path / "empty").mkdir()
    assert_refused(train(tmp_path / "empty"), tmp_path / "empty", "no images")
    (tmp_path / "parts" / "train").mkdir(parents=True)
    assert_refused(train(tmp_path / "parts"), tmp_path / "parts" / "train", "no images")
    assert not (tmp_path / "run").exists()


def test_a_truncated_image_is_named(train, tmp_path):
    data = write_pairs(tmp_path / "data" / "train", 4).parent
    bad = data / "train" / "cut.jpg"
    whole = (data / "train" / "32-0.jpg").read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    assert_refused(train(data), bad, "damaged image", after_bars=True)
    assert bad.stat().st_size == len(whole) // 2


@pytest.mark.parametrize("command", ["train", "prepare"])
def test_text_with_the_name_of_an_image_is_named(run, train, tmp_path, command):
    data = write_pairs(tmp_path / "data" / "train", 2).parent
    bad = data / "train" / "notes.jpg"
    bad.write_text("not pixels")
    prepare = ("prepare", "--config=folder", f"--config.data_dir={data}")
    result = train(data) if command == "train" else run(*prepare)
    assert_refused(result, bad, "not a readable image", after_bars=command == "prepare")


def test_a_pair_of_odd_width_is_named(train, tmp_path):
    data = write_pairs(tmp_path / "data" / "train", 2).parent
    write_pairs(data / "train", 1, size=(40, 65), kind="png")
    assert_refused(train(data), data / "train" / "40-0.png", "65", "odd")


def test_mixed_sizes_train_with_a_note(train, tmp_path):
    data = write_pairs(tmp_path / "data" / "train", 3).parent
    write_pairs(data / "train", 2, size=(50, 120), kind="png")
    code, out, _ = train(data)
    assert code == 0
    assert "5 pairs of 32x32 (HxW)" in out and "sizes differ, the largest 50x60 (HxW)" in out
    assert trained_model.load(tmp_path / "run").step == 6


def test_a_workdir_of_another_config(run, trained, tiny_flags):
    before = snapshot(trained)
    result = run(
        *("train", "--config=default", f"--workdir={trained}", *tiny_flags),
        *("--config.generator.features=4", "--config.seed=9", "--config.num_samples=1"),
    )
    assert_refused(result, trained, "config.generator.features: 8 -> 4", "config.seed: 0 -> 9", "another --workdir")
    assert "num_samples" not in result[2]
    assert snapshot(trained) == before


@pytest.mark.parametrize("command", ["evaluate", "translate"])
@pytest.mark.parametrize("exists", [True, False])
def test_no_checkpoint(run, tmp_path, command, exists):
    workdir = tmp_path / "run"
    if exists:
        workdir.mkdir()
    files = (f"--input={tmp_path}", f"--output={tmp_path / 'out'}") if command == "translate" else ()
    assert_refused(run(command, f"--workdir={workdir}", *files), workdir, "no checkpoint", "train first")
    assert workdir.exists() == exists and not (tmp_path / "out").exists()


@pytest.mark.parametrize("step", ["7", "last"])
def test_a_step_that_is_not_there(run, trained, step):
    assert_refused(run("evaluate", f"--workdir={trained}", f"--step={step}"), f"--step={step}", "3, 6, 'latest' and")


def test_comparing_says_where_things_are_or_what_to_do_first(run, trained, tmp_path, monkeypatch):
    monkeypatch.setitem(datasets._DRAWN_COUNT, "test", 2)
    monkeypatch.chdir(tmp_path)
    workdir = pathlib.Path(shutil.copytree(trained, tmp_path / "run"))
    assert_refused(run("compare", "run", "--split=test"), "pix2pix evaluate --workdir=run --split=test")
    assert run("evaluate", f"--workdir={workdir}", "--split=test")[0] == 0
    code, out, _ = run("compare", "run", "--split=test", "--examples=1")
    assert code == 0
    assert "| run | 6 | 2 |" in out and "comparison/index.html" in out
    assert (tmp_path / "comparison" / "index.html").is_file()
    assert len(list((tmp_path / "comparison" / "images").iterdir())) == 3
    assert_refused(run("compare", "run", "run/../run", "--split=test"), workdir, "given 2 times")


def test_a_split_that_is_not_there(run, trained, tmp_path):
    workdir = with_data(trained, tmp_path / "run", write_pairs(tmp_path / "data", 3))
    assert_refused(run("evaluate", f"--workdir={workdir}", "--split=test"), tmp_path / "data", "--split=val")
    (tmp_path / "data" / "train").mkdir()
    assert_refused(run("evaluate", f"--workdir={workdir}", "--split=val"), tmp_path / "data", "no val/", "train")


def with_data(trained, workdir, data):
    """A workdir with the trained state whose checkpoint says that it comes from the folder `data`."""
    with Checkpoints(trained, read_only=True) as source, Checkpoints(workdir) as target:
        config = source.config(6)
        parts = build_model.build_parts(config, num_examples=1)
        state = source.restore(6, jax.eval_shape(lambda: build_model.create_state(config, parts)))
        config.dataset, config.data_dir = "folder", str(data)
        target.save(6, state, config)
        target.wait()
    return workdir


def test_losses_that_are_not_finite(train, tmp_path):
    """The first update leaves huge but finite parameters, which are saved; their losses are not finite."""
    data = write_pairs(tmp_path / "data", 4)
    # Simultaneous, because a sequential update would meet the broken discriminator within its first step.
    flags = ("--config.learning_rate=1e30", "--config.update_order=simultaneous", "--config.checkpoint_every_steps=1")
    result = train(data, *flags)
    assert_refused(result, "step 2", "no longer finite", "--config.learning_rate", "kept", after_bars=True)
    workdir = tmp_path / "run"
    assert [p.name for p in (workdir / "checkpoints").iterdir()] == ["1"]
    kept = trained_model.load(workdir)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(kept.variables))
    assert [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()] == [1]


def test_errors_of_other_kinds_are_not_hidden(run, trained, monkeypatch):
    """A bug must keep its traceback."""

    def broken(*arguments, **keywords):
        raise FileNotFoundError(2, "a bug")

    monkeypatch.setattr(trained_model, "load", broken)
    with pytest.raises(FileNotFoundError):
        run("evaluate", f"--workdir={trained}")
