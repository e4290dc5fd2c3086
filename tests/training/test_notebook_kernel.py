"""Training in a real notebook kernel: its progress, and its stop button."""

import json
import time

import pytest

pytest.importorskip("ipykernel", reason="a notebook's kernel is not installed")
manager = pytest.importorskip("jupyter_client.manager")

PROGRAM = """
import numpy as np, pix2pix_jax
images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
config = pix2pix_jax.config(
    image_size=(32, 32), resize_size=(36, 36), num_steps=STEPS, eval_every_steps=1, log_every_steps=1, mesh={"data": 1},
    generator={"features": 8}, discriminator={"features": 8, "num_layers": 1},
)
pairs = images, 255 - images
pix2pix_jax.train(config, WORKDIR, data={"train": pairs, "val": pairs}).step
"""


@pytest.fixture
def kernel():
    kernel_manager, client = manager.start_new_kernel(kernel_name="python3", extra_arguments=[])
    yield kernel_manager, client
    client.stop_channels()
    kernel_manager.shutdown_kernel(now=True)


def outputs_until_idle(client, asked, *, seconds=200):
    """Yields the messages of a cell until it is done."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        message = client.get_iopub_msg(timeout=seconds)
        if message["parent_header"].get("msg_id") != asked:
            continue
        yield message["msg_type"], message["content"]
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return
    pytest.fail("the cell is not done")


@pytest.mark.heavy
def test_the_stop_button_saves_and_the_same_cell_goes_on(kernel, tmp_path):
    kernel_manager, client = kernel
    workdir = tmp_path / "run"

    def cell(steps):
        return client.execute(PROGRAM.replace("WORKDIR", repr(str(workdir))).replace("STEPS", str(steps)))

    def has_evaluated():
        metrics = workdir / "metrics.jsonl"
        return metrics.exists() and metrics.read_text().count("val/l1") > 3

    asked, stopped, shown, errors = cell(100_000), False, "", []
    for kind, content in outputs_until_idle(client, asked):
        shown += content.get("text", "") if kind == "stream" else ""
        errors += [content] if kind == "error" else []
        if not stopped and has_evaluated():  # while the bar of steps is shown, too
            kernel_manager.interrupt_kernel()
            stopped = True
    assert [error["ename"] for error in errors] == ["Interrupted"] and "which is saved" in errors[0]["evalue"]
    client.get_shell_msg(timeout=10)  # until then, a failed cell takes those that wait with it
    (step,) = [int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()]
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] <= step and "\x1b" not in shown
    assert "load:" not in shown  # it was loaded beside the first steps

    asked, result = cell(step + 2), None
    for kind, content in outputs_until_idle(client, asked):
        assert kind != "error", content
        result = content["data"]["text/plain"] if kind == "execute_result" else result
    assert result == str(step + 2)
