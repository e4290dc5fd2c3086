"""When the programs of a run are compiled: not for a run that is refused, and samples' not before the first step."""

import pytest

from pix2pix_jax.errors import UserError
from pix2pix_jax.training import compiling, samples, train
from pix2pix_jax.training.metric_logger import MetricLogger


@pytest.fixture
def begun(monkeypatch) -> list[str]:
    """The compilations that began, and the losses that were read, in order."""
    events = []

    def watch(owner, method, name):
        original = getattr(owner, method)

        def watching(self, *arguments):
            events.append(name)
            return original(self, *arguments)

        monkeypatch.setattr(owner, method, watching)

    watch(compiling.StepCompiler, "_compile", "step")
    watch(samples.Sampler, "compile_for", "samples")
    watch(MetricLogger, "_read", "losses")
    return events


@pytest.mark.parametrize("period", [0, 100])
def test_samples_wait_for_the_first_step(tiny_config, tmp_path, begun, period):
    config = tiny_config("--config.num_steps=5", f"--config.sample_every_steps={period}")
    train.train(config, tmp_path)
    assert begun[0] == "step"
    assert begun.index("samples") == begun.index("losses") + 1  # the losses of the first step


def test_samples_of_the_first_steps_and_runs_shorter_than_that(tiny_config, tmp_path):
    train.train(tiny_config("--config.num_steps=2", "--config.sample_every_steps=1"), tmp_path)
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["000001.png", "000002.png"]


def test_nothing_is_compiled_for_a_run_that_is_refused_or_complete(trained, tiny_config, begun):
    with pytest.raises(UserError, match="another config"):
        train.train(tiny_config("--config.seed=5"), trained)
    train.train(tiny_config(), trained)
    assert begun == []


def test_an_error_of_compilation_ends_the_run(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "trace_train_step", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train.train(tiny_config(), tmp_path)
