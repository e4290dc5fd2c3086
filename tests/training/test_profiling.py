"""Traces of steps: what they hold, when there is one, and that a run is the same with and without."""

import collections
import gzip
import json

import jax
import jax.numpy as jnp
import processes
import pytest

from pix2pix_jax.errors import UserError
from pix2pix_jax.training import metric_logger, profiling, train


def steps_of_xplane(path) -> list[int]:
    """The numbers of the steps that TensorBoard's profile plugin will find."""
    planes = jax.profiler.ProfileData.from_serialized_xspace(path.read_bytes()).planes
    events = [event for plane in planes for line in plane.lines for event in line.events if event.name == "train"]
    return [dict(event.stats)["step_num"] for event in sorted(events, key=lambda event: event.start_ns)]


def steps_of_perfetto(path) -> list[int]:
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    assert all({"ph", "pid"} <= event.keys() for event in events if event)
    return sorted(int(event["args"]["step_num"]) for event in events if event.get("name") == "train")


def traces_of(workdir) -> dict[str, list[int]]:
    """The steps in each file below plugins/profile, by the end of its name."""
    read = {"xplane.pb": steps_of_xplane, "perfetto_trace.json.gz": steps_of_perfetto}
    found = {}
    for path in sorted((workdir / "plugins" / "profile").glob("*/*")):
        kind = path.name.split(".", 1)[1]
        found[f"{path.parent.name}/{kind}"] = read[kind](path)
    return found


def losses_of(workdir) -> list[dict]:
    return processes.lines_of(workdir)


def test_a_trace_holds_its_steps_and_changes_nothing(trained, tiny_config, tmp_path, capsys):
    train.train(tiny_config("--config.profile_steps=2,4"), tmp_path)
    name = "steps-2-4"
    assert traces_of(tmp_path) == {f"{name}/perfetto_trace.json.gz": [2, 3, 4], f"{name}/xplane.pb": [2, 3, 4]}
    assert f"the trace of steps 2 to 4 is in {tmp_path}/plugins/profile/{name};" in capsys.readouterr().out
    assert losses_of(tmp_path) == losses_of(trained)
    assert not (trained / "plugins").exists()


def test_what_devices_compute_for_its_steps_is_in_a_trace_and_nothing_else(tmp_path):
    """It waits for the steps before, and for its own."""

    @jax.jit
    def slow(state, batch):
        for _ in range(20):
            state = jnp.cos(state @ batch)
        return state, {"loss": state.sum()}

    state = batch = jnp.ones((1024, 1024))
    slow = slow.lower(state, batch).compile()
    with profiling.Profiler((3, 4), tmp_path) as profiler:
        for step in range(1, 7):
            profiler.before_step(step, state)
            state, metrics = slow(state, batch)
            profiler.on_step(step, state, metrics)
    (path,) = tmp_path.glob("plugins/profile/*/*.xplane.pb")
    planes = jax.profiler.ProfileData.from_serialized_xspace(path.read_bytes()).planes
    events = [dict(event.stats) for plane in planes for line in plane.lines for event in line.events]
    counts = collections.Counter(event["run_id"] for event in events if event.get("hlo_module") == "jit_slow")
    assert len(counts) == 2 and len(set(counts.values())) == 1 and min(counts.values()) >= 20


def test_a_run_that_ends_in_between_and_goes_on_leaves_what_it_has(tiny_config, tmp_path, capsys):
    overrides = ("--config.profile_steps=3,5", "--config.checkpoint_every_steps=0")
    train.train(tiny_config(*overrides, "--config.num_steps=3"), tmp_path)
    assert traces_of(tmp_path)["steps-3-5/xplane.pb"] == [3]
    assert "the trace of steps 3 to 3 is in" in capsys.readouterr().out
    train.train(tiny_config(*overrides, "--config.num_steps=4"), tmp_path)
    assert traces_of(tmp_path)["steps-3-5/xplane.pb"] == [4]


def test_a_run_beyond_the_steps_traces_nothing_and_may_change_them(trained, tiny_config, tmp_path, capsys):
    train.train(tiny_config("--config.num_steps=3"), tmp_path)
    train.train(tiny_config("--config.profile_steps=1,2"), tmp_path)
    assert traces_of(tmp_path) == {} and "profile_steps" not in capsys.readouterr().out
    assert losses_of(tmp_path) == losses_of(trained)


def test_steps_beyond_the_end_are_refused_before_anything_is_written(tiny_config, tmp_path):
    with pytest.raises(UserError, match=r"config\.profile_steps: 7,9, but the run ends at step 6"):
        train.train(tiny_config("--config.profile_steps=7,9"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.heavy
def test_a_run_that_fails_while_it_is_traced_can_be_traced_again(tiny_config, tmp_path):
    diverging = ("--config.learning_rate=1e38", "--config.num_steps=40", "--config.profile_steps=1,40")
    with pytest.raises(metric_logger.DivergedError):
        train.train(tiny_config(*diverging), tmp_path / "diverged")
    assert traces_of(tmp_path / "diverged") == {}
    train.train(tiny_config("--config.profile_steps=1,1", "--config.num_steps=1"), tmp_path / "next")
    assert traces_of(tmp_path / "next")["steps-1-1/xplane.pb"] == [1]


def test_a_trace_that_cannot_be_written_is_a_line(tiny_config, tmp_path):
    (tmp_path / "plugins").write_text("in the way of the folder")
    with pytest.raises(UserError, match=r"plugins/profile.*cannot be written"):
        train.train(tiny_config("--config.profile_steps=1,2"), tmp_path)


@pytest.mark.heavy
def test_each_process_traces_its_own_devices(tmp_path):
    overrides = ("--config.num_steps=3", "--config.profile_steps=2,3")
    for process in processes.start_together(2, *processes.tiny_run(tmp_path / "run", *overrides)):
        processes.finish(process)
    paths = list((tmp_path / "run").glob("plugins/profile/*/*.xplane.pb"))
    assert {path.name.removesuffix(".xplane.pb")[-2:] for path in paths} == {"-0", "-1"}
    assert [steps_of_xplane(path) for path in paths] == [[2, 3], [2, 3]]
