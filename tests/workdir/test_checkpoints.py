"""Checkpoints: self-describing, partly readable, and clear about damage."""

import functools
import hashlib
import json
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import processes
import pytest
from damage import damage

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.configuration import build_model
from pix2pix_jax.errors import UserError
from pix2pix_jax.gan.state import state_shardings
from pix2pix_jax.inference import trained_model
from pix2pix_jax.runtime import meshes
from pix2pix_jax.training import train
from pix2pix_jax.workdir.checkpoints import Checkpoints, DamagedError, abstract


@pytest.fixture
def reader(trained):
    checkpoints = Checkpoints(trained, read_only=True)
    yield checkpoints
    checkpoints.close()


def test_a_checkpoint_holds_its_config(reader, tiny_config):
    resolved = ("--config.input_dtype=uint8", "--config.target_dtype=uint8")
    assert config_lib.to_dict(reader.config(6)) == config_lib.to_dict(tiny_config(*resolved))


def rewrite(workdir, name, change):
    """Changes a text of step 6, and its digest, as only a program can that means it."""
    folder = workdir / "checkpoints" / "6"
    value = change(json.loads((folder / name / "metadata").read_text()))
    (folder / name / "metadata").write_text(json.dumps(value))
    sums = json.loads((folder / "checksums" / "metadata").read_text())
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    (folder / "checksums" / "metadata").write_text(json.dumps(sums | {name: digest}))


def test_a_run_of_a_version_with_more_fields_is_read(trained, tmp_path, capsys):
    workdir = shutil.copytree(trained, tmp_path / "run")
    rewrite(workdir, "config", lambda config: config | {"former": 1})
    assert trained_model.load(workdir).step == 6
    assert "note: the checkpoint's config has fields of another version, which are left out: former" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config", lambda config: config | {"generator": config["generator"] | {"features": 16}}),
        ("config", lambda config: config | {"input_channels": 1}),
        ("progress", lambda progress: [progress]),
        ("progress", lambda progress: progress | {"best": "6"}),
    ],
)
def test_what_contradicts_the_arrays_is_one_line(trained, tmp_path, name, change):
    """As a user starts it: what goes wrong beside the error would be printed when it is collected."""
    workdir = shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints" / "3")
    rewrite(workdir, name, change)
    step = "best" if name == "progress" else "latest"
    flags = (f"--workdir={workdir}", f"--step={step}", "--input=x.png", f"--output={tmp_path / 'out'}")
    command = [sys.executable, "-m", "pix2pix_jax", "translate", *flags]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1), result.stderr
    said = result.stdout + result.stderr
    assert "checkpoints/6: damaged, cannot be restored" in said and "strict" not in said


def test_steps_are_found_by_name(reader):
    assert reader.load("latest", lambda step: step) == 6
    assert reader.load("3", lambda step: step) == 3
    for wrong in ("4", "first", "-1"):
        with pytest.raises(UserError, match="there are 3, 6, 'latest' and 'best'"):
            reader.load(wrong, lambda step: step)


def test_a_part_equals_that_of_the_whole(reader, tiny_config):
    config = tiny_config()
    parts = build_model.build_parts(config, num_examples=1)
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = abstract(jax.eval_shape(lambda: build_model.create_state(config, parts)), here)
    whole = reader.restore(6, like)
    part = reader.restore(6, {"generator": like.generator.variables})
    jax.tree.map(np.testing.assert_array_equal, part["generator"], whole.generator.variables)


def test_sharded_moments_restore_onto_any_number_of_devices(reader, tiny_config, tmp_path):
    config = tiny_config()
    like = jax.eval_shape(lambda: build_model.create_state(config, build_model.build_parts(config, num_examples=1)))

    def on(data):
        mesh = meshes.make_mesh(batch_size=8, data=data)
        return abstract(like, state_shardings(like, mesh, shard_optimizer=True))

    state = expected = reader.restore(6, on(1))
    for step, data in enumerate((8, 4, 1)):
        folder = Checkpoints(tmp_path / str(data))
        folder.save(step, jax.device_put(state, jax.tree.map(lambda x: x.sharding, on(data))), config)
        folder.wait()
        state = folder.restore(step, on(8 // data))
        folder.close()
        moment = state.generator.opt_state[0].mu["down2"]["kernel"]
        assert moment.addressable_shards[0].data.size == moment.size * data // 8
        jax.tree.map(np.testing.assert_array_equal, state, expected)


def test_a_changed_byte_anywhere_is_seen_or_does_not_matter(trained, tmp_path, tiny_config):
    """The whole train state restores bit for bit, or is refused; never anything else."""
    config = tiny_config()
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = abstract(
        jax.eval_shape(lambda: build_model.create_state(config, build_model.build_parts(config, num_examples=1))), here
    )
    rng = np.random.default_rng(0)
    whole = None
    for trial in range(30):
        run = tmp_path / str(trial)
        shutil.copytree(trained, run)
        files = sorted(p for p in (run / "checkpoints" / "6").rglob("*") if p.is_file())
        # Most bytes are in one or two files; each file has its turn.
        what = damage(files[trial % len(files)], rng) if trial else "nothing"
        checkpoints = Checkpoints(run, read_only=True)
        try:
            if checkpoints.latest_step() == 6:
                found = jax.device_get((checkpoints.restore(6, like), checkpoints.progress(6)))
                whole = whole or found
                jax.tree.map(functools.partial(np.testing.assert_array_equal, err_msg=what), found, whole)
        except DamagedError as error:
            assert "checkpoints/6: damaged" in str(error) and "<bound method" not in str(error)
        finally:
            checkpoints.close()
        shutil.rmtree(run)


@pytest.mark.parametrize("part", ["state", "progress", "config", "checksums"])
def test_a_part_of_another_checkpoint_is_seen(trained, tmp_path, tiny_config, part):
    """Nothing is wrong with the files themselves."""
    shutil.copytree(trained / "checkpoints", tmp_path / "checkpoints")
    six, three = (tmp_path / "checkpoints" / step / part for step in ("6", "3"))
    shutil.rmtree(six)
    shutil.copytree(three, six)
    if part == "config":
        (file,) = (path for path in six.rglob("*") if path.is_file() and b"learning_rate" in path.read_bytes())
        file.write_bytes(file.read_bytes().replace(b'"learning_rate": 0.0002', b'"learning_rate": 0.0003'))
    if part == "progress":
        (file,) = (path for path in six.rglob("*") if path.is_file() and b"evaluation" in path.read_bytes())
        file.write_bytes(file.read_bytes().replace(b'"best": null', b'"best": {}'))
    config = tiny_config()
    like = jax.eval_shape(lambda: build_model.create_state(config, build_model.build_parts(config, num_examples=1)))
    like = abstract(like, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    refused = pytest.raises(DamagedError, match=r"checkpoints/6: damaged.* is not what was saved")
    with Checkpoints(tmp_path, read_only=True) as checkpoints, refused:
        checkpoints.config(6), checkpoints.progress(6), checkpoints.restore(6, like)


def test_the_newest_whole_checkpoint_is_taken(trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints" / "6" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert trained_model.load(tmp_path / "run").step == 3
    assert re.search("checkpoints/6: damaged.*; going back to step 3", capsys.readouterr().out)
    with pytest.raises(UserError, match="checkpoints/6: damaged.*use another --step"):
        trained_model.load(tmp_path / "run", step=6)
    assert (tmp_path / "run" / "checkpoints" / "6").exists()  # who only reads changes nothing


@pytest.mark.heavy
def test_every_checkpoint_of_a_run_is_whole_while_others_keep_the_machine_busy(tiny_config, tmp_path):
    """Written while the run goes on, between log lines, and with little time left for the thread that writes."""
    periods = {"checkpoint": 5, "log": 37, "sample": 0, "eval": 0}
    fields = (f"--config.{name}_every_steps={steps}" for name, steps in periods.items())
    config = tiny_config("--config.num_steps=500", "--config.keep_checkpoints=100", *fields)
    with processes.busy():
        train.train(config, tmp_path)
    saved = processes.read_all(tmp_path)
    assert {step: len(progress["losses"]) for step, progress in saved.items()} == {
        step: step % 37 for step in range(5, 501, 5)
    }


def test_without_any_whole_checkpoint_nothing_begins_anew(trained, tmp_path, tiny_config):
    shutil.copytree(trained, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").glob("*/state/_METADATA"):
        path.write_text("{")
    before = sorted(p for p in tmp_path.rglob("*"))
    with pytest.raises(UserError, match="no other checkpoint is whole"):
        train.train(tiny_config(), tmp_path / "run")
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_what_is_saved_is_what_there_was_when_it_was_given(reader, tiny_config, tmp_path):
    """The loop goes on changing its lists while a thread writes; a digest of one and the text of another is damage."""
    state = {"step": np.zeros((), np.int32)}
    losses = [{"g_l1": 0.5}]
    with Checkpoints(tmp_path, keep=20) as checkpoints:
        for step in range(20):
            checkpoints.save(step, state, tiny_config(), {"losses": losses, "best": None, "evaluation": None})
            losses.append({"g_l1": float(step)})
        checkpoints.wait()
        assert [len(checkpoints.progress(step)["losses"]) for step in range(20)] == [*range(1, 21)]


@pytest.mark.parametrize(
    ("evaluations", "best"),
    [
        ([("l1", 1, 0.3), ("l1", 2, 0.2), ("l1", 3, 0.2), None], 2),  # of equal ones the first
        ([("ssim", 1, 0.3), ("ssim", 2, 0.2)], 1),
        ([("l1", 1, 0.1), ("psnr", 2, 20.0), ("psnr", 3, 21.0)], 3),  # of the metric that counted last
        ([None, None], None),
    ],
)
def test_the_best_is_the_best_that_exists(tiny_config, tmp_path, evaluations, best):
    with Checkpoints(tmp_path, keep=9) as checkpoints:
        for step, own in enumerate(evaluations, 1):
            own = own and dict(zip(("metric", "step", "value"), own, strict=True))
            gone = {"metric": "l1", "step": 77, "value": 0.0}  # as where a damaged checkpoint was set aside
            progress = {"losses": [], "best": gone, "evaluation": own}
            checkpoints.save(step, {"step": np.int32(step)}, tiny_config(), progress)
        checkpoints.wait()
        assert (checkpoints.best() or {"step": None})["step"] == best
        if best:
            assert checkpoints.load("best", lambda step: step) == best
        else:
            with pytest.raises(UserError, match="--step=best: no whole checkpoint in .* was evaluated as the run went"):
                checkpoints.load("best", lambda step: step)


def test_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match="no checkpoint"):
        Checkpoints(tmp_path, read_only=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
def test_leftovers_in_a_bucket_may_go_at_any_moment(bucket, tiny_config):
    """A bucket has no empty folders: with its last object a folder goes too, between a look at it and the next."""

    def opens_and_saves(moment):
        workdir, first = f"run{moment}", len(bucket.requests)
        for name in ("state/1", "state/2", "config/metadata"):
            bucket.put(f"{workdir}/checkpoints/3/{name}", b"{}")

        def vanish(request):
            if request.number - first == moment:
                for name in bucket.names(f"{workdir}/checkpoints/"):
                    bucket.objects.pop(name)

        bucket.fault = vanish
        with Checkpoints(f"gs://bucket/{workdir}") as checkpoints:
            opened = len(bucket.requests) - first
            bucket.fault = lambda request: None
            checkpoints.save(3, {"x": np.ones(2)}, tiny_config())
            checkpoints.wait()
            assert checkpoints.steps() == [3], moment
        assert f"{workdir}/checkpoints/3/state/2" not in bucket.objects, moment
        return opened

    moment = 0
    while moment < opens_and_saves(moment):
        moment += 1
    assert moment > 10


def test_what_a_killed_save_left_on_a_disk_goes_when_a_run_opens_it(trained, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(trained / "checkpoints", folder)
    for name in ("9.orbax-checkpoint-tmp", "damaged-9"):
        shutil.copytree(folder / "3", folder / name)
    names = {"3", "6", "9.orbax-checkpoint-tmp", "damaged-9"}
    for read_only in (True, False):
        with Checkpoints(tmp_path, read_only=read_only) as checkpoints:
            assert checkpoints.steps() == [3, 6]
        names -= {"9.orbax-checkpoint-tmp"} if not read_only else set()
        assert {path.name for path in folder.iterdir()} == names
