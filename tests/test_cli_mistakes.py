"""Mistakes of the commands that use a trained run: one line, exit code 2, and nothing written."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from pix2pix_jax import cli
from pix2pix_jax.errors import UserError
from pix2pix_jax.workdir import checkpoints


@pytest.fixture
def mistake(capsys, tmp_path, monkeypatch, trained):
    """Runs a command among a few files: {RUN} is a trained workdir; returns the line of its refusal."""
    monkeypatch.chdir(tmp_path)
    for name in ("fake/a.png", "fake/b.png", "real/a.png", "real/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(tmp_path / name)
    (tmp_path / "text").write_text("precious")

    def mistake(*arguments: str) -> str:
        before = [contents(tmp_path), contents(trained)]
        try:
            code = cli.main([argument.replace("{RUN}", str(trained)) for argument in arguments])
        except SystemExit as exit:
            code = exit.code
        lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line and "|" not in line]
        assert (code, len(lines)) == (2, 1), lines
        assert [contents(tmp_path), contents(trained)] == before
        return lines[0].removeprefix(f"pix2pix {arguments[0]}: error: ")

    return mistake


def contents(folder: pathlib.Path) -> dict[pathlib.Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FILES = ("evaluate", "--pictures=fake", "--targets=real")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("evaluate", "--workdir={RUN}", "--step=\u00b2"), "--step=\u00b2: no such checkpoint"),
        (("evaluate", "--workdir={RUN}", "--step=\u0663"), "--step=\u0663: no such checkpoint"),
        (("evaluate", "--workdir={RUN}", "--step=03"), "--step=03: no such checkpoint"),
        (("evaluate", "--workdir={RUN}", "--metrics="), "--metrics=: empty"),
        (("evaluate", "--workdir={RUN}", "--metrics=l1, "), "an empty name: no such metric"),
        (("evaluate", "--workdir={RUN}", "--output=gs://"), "neither a folder nor gs://BUCKET/NAME"),
        (("prepare", "--config=folder", "--config.data_dir=s3://x/y"), "neither a folder nor gs://BUCKET/NAME"),
        (("prepare", "--config=facades", "--config.data_dir=http://x/y"), "neither a folder nor gs://BUCKET/NAME"),
        (("evaluate", "--workdir={RUN}", "--inputs=fake"), "--inputs: goes with --pictures"),
        ((*FILES, "--output=out", "--step=3"), "--step: goes with --workdir only"),
        ((*FILES, "--output=out", "--split=test"), "--split: goes with --workdir only"),
        ((*FILES, "--output=out", "--dropout=off"), "--dropout: goes with --workdir only"),
        ((*FILES, "--output=fake"), "--output=fake: its pictures would lie among those of --pictures"),
        ((*FILES, "--output=./real/../real/x"), "would lie among those of --targets"),
        (("translate", "--workdir={RUN}", "--input=", "--output=out"), "--input=: empty"),
        (("translate", "--workdir={RUN}", "--input=fake", "--output="), "--output=: empty"),
        (("translate", "--workdir={RUN}", "--input=/dev/zero", "--output=out"), "/dev/zero: not a file"),
        (("translate", "--workdir={RUN}", "--input=http://127.0.0.1/a.png", "--output=out"), "neither a folder nor gs"),
        (("translate", "--workdir={RUN}", "--input=s3://b/a.png", "--output=out"), "neither a folder nor gs"),
        (("compare", "{RUN}", "--output="), "--output=: empty"),
        (("compare", ""), "WORKDIR: empty"),
        (("export", "--workdir={RUN}", "--output=gs://b/g.pth"), "gs://b/g.pth: not a local path"),
        (("import-torch", "--config=default", "--generator=", "--workdir=out"), "--generator=: empty"),
    ],
)
def test_a_mistake_is_one_line(mistake, arguments, words):
    assert words in mistake(*arguments)


def test_blanks_in_a_list_and_the_home_in_a_path(trained, tmp_path, monkeypatch, mistake):
    """As a shell gives them: `--output=~/g.pth` is not expanded by it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "goose: no such metric" in mistake("evaluate", "--workdir={RUN}", "--metrics=l1, goose")
    assert cli.main([*FILES, "--output=out", "--metrics=l1, psnr"]) == 0
    assert cli.main(["export", f"--workdir={trained}", "--output=~/g.pth"]) == 0
    assert (tmp_path / "g.pth").is_file()
    assert "~/d.pth" not in mistake("import-torch", "--config=default", "--generator=~/d.pth", "--workdir=w")


def test_a_pipe_among_the_pictures_is_not_waited_for(tmp_path, mistake):
    os.mkfifo(tmp_path / "pipe.png")
    assert "pipe.png: not a file" in mistake("translate", "--workdir={RUN}", "--input=pipe.png", "--output=out")


@pytest.mark.heavy
def test_names_of_other_letters_in_a_locale_that_has_none(trained, tmp_path):
    """Python has paths as ASCII then, with which tensorstore took every checkpoint for damaged."""
    workdir = shutil.copytree(trained, tmp_path / "L\u00e4ufe \u65e5\u672c")
    (tmp_path / "gr\u00f6\u00dfe").mkdir()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "gr\u00f6\u00dfe" / "\u5199\u771f.png")
    flags = (f"--workdir={workdir}", f"--input={tmp_path}/gr\u00f6\u00dfe", f"--output={tmp_path}/\u00f6ut")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "pix2pix_jax", "translate", *flags]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", env=os.environ | locale, check=False)
    assert result.returncode == 0, result.stderr
    assert f"1 pictures in {tmp_path}/\u00f6ut" in result.stdout
    assert (tmp_path / "\u00f6ut" / "\u5199\u771f.png").is_file()


def test_a_workdir_whose_name_is_not_utf8_is_not_called_damaged(trained, tmp_path):
    workdir = shutil.copytree(trained, os.fsdecode(os.fsencode(tmp_path) + b"/run\xff"))
    with pytest.raises(UserError, match=r"run\\udcff.*not a name in UTF-8"):
        checkpoints.Checkpoints(workdir, read_only=True)


def test_without_a_folder_for_temporary_files(mistake, monkeypatch):
    """As in a read-only container; of root nothing keeps Python's candidates from being written."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nonexistent"])
    for arguments in (
        ("train", "--config=default", "--workdir=w"),
        ("compare", "{RUN}"),
        ("prepare", "--config=facades"),
    ):
        assert "TMPDIR: no folder for temporary files" in mistake(*arguments)


@pytest.mark.heavy
@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="becomes another user, which root can")
def test_a_user_without_a_home_or_a_writable_run(trained, tmp_path):
    """Nothing is said of caches that cannot be kept."""
    workdir, output = shutil.copytree(trained, tmp_path / "run"), tmp_path / "out"
    output.mkdir(mode=0o777)
    output.chmod(0o777)
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    flags = (f"--workdir={workdir}", f"--input={tmp_path / 'a.png'}", f"--output={output}")
    # It keeps the right to read what is root's, as Python itself may be, and loses that to write.
    user = (
        "setpriv",
        "--reuid=65534",
        "--clear-groups",
        "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search",
    )
    command = [*user, sys.executable, "-m", "pix2pix_jax", "translate", *flags]
    environment = {k: v for k, v in os.environ.items() if k not in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME")}
    environment |= {"HOME": "/nonexistent", "TMPDIR": "/nonexistent"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.replace("\r", "\n").splitlines() if line.strip() and "image" not in line]
    assert lines == [] and (output / "a.png").stat().st_uid == 65534


def npy(shape) -> bytes:
    header = str({"descr": "<f4", "fortran_order": False, "shape": shape}).ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a": ' * 10_000, "{", "[]", "5", '{"a": [1e400, 0, 0]}', '{"a": 5}', ""]
)
def test_a_palette_that_is_none(tmp_path, mistake, text):
    (tmp_path / "p.json").write_text(text)
    assert "--palette=p.json: not {" in mistake("evaluate", "--workdir={RUN}", "--palette=p.json")


@pytest.mark.parametrize(
    "content", [npy((10**9, 10**6)), npy((10**15, 10**15)), npy("x"), b"\x93NUMPY\x01", b"(" * 10**5, npy((0,))]
)
@pytest.mark.parametrize("network", ["lpips", "inception"])
def test_an_npz_of_weights_that_is_hostile(tmp_path, mistake, content, network):
    """An array that declares petabytes, among others; and one whose name is none of a network's."""
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("a.npy", content)
    flags = ("--output=out", "--metrics=lpips" if network == "lpips" else "--metrics=kid", f"--{network}=w.npz")
    for name in ("fake/a.png", "fake/b.png", "real/a.png", "real/b.png"):
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / name)
    assert "w.npz: " in mistake(*FILES, *flags)
