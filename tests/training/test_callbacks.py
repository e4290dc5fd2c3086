"""The protocol of what happens beside the steps."""

from pix2pix_jax.training import loop, train
from pix2pix_jax.training.callbacks import Callback


class Recorder(Callback):
    def __init__(self):
        self.calls = []

    def before_step(self, step, state):
        self.calls.append(("before", step))

    def on_step(self, step, state, metrics):
        assert "g_l1" in metrics
        self.calls.append(("on", step))

    def on_end(self, step, state):
        self.calls.append(("end", step))


def test_a_callback_is_a_class_and_a_line(tiny_config, tmp_path, monkeypatch):
    recorder, build = Recorder(), loop._build_callbacks
    monkeypatch.setattr(loop, "_build_callbacks", lambda *args, **options: [*build(*args, **options), recorder])
    config = tiny_config("--config.num_steps=2")
    train.train(config, tmp_path)
    assert recorder.calls == [("before", 1), ("on", 1), ("before", 2), ("on", 2), ("end", 2)]
    recorder.calls.clear()
    train.train(tiny_config("--config.num_steps=3"), tmp_path)  # resumed
    assert recorder.calls == [("before", 3), ("on", 3), ("end", 3)]
