"""Runs of the program in processes of their own, for the tests that kill, stop and connect them."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np

from pix2pix_jax.configuration import build_model
from pix2pix_jax.workdir.checkpoints import Checkpoints


def start(*arguments, devices: int = 1, **environment: str) -> subprocess.Popen:
    """`pix2pix ARGUMENTS` on so many CPU devices, compiled as quickly as in the other tests."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"  # the last one counts
    return subprocess.Popen(
        [sys.executable, "-m", "pix2pix_jax", *map(str, arguments)],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_together(count: int, *arguments, devices: int = 1) -> list[subprocess.Popen]:
    """The same command in `count` processes that find each other."""
    common = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}", "JAX_NUM_PROCESSES": str(count)}
    return [start(*arguments, devices=devices, **common, JAX_PROCESS_ID=str(i)) for i in range(count)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Keeps the machine busy with twice as many endless loops as it has cores, which no crash leaves behind."""
    loop = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
    loops = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(2 * os.cpu_count())]
    try:
        yield
    finally:
        for process in loops:
            process.kill()
            process.wait()


def finish(process: subprocess.Popen, code: int = 0, *, within: float = 600) -> str:
    """Waits for the process, asserts its exit code, and returns what it printed."""
    output = process.communicate(timeout=within)[0]
    assert process.returncode == code, output[-3000:]
    return output


def wait_for(condition: Callable[[], bool], *processes: subprocess.Popen, within: float = 600) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes), processes[0].communicate()[0][-3000:]
        time.sleep(0.01)


def lines_of(workdir: pathlib.Path) -> list[dict]:
    """metrics.jsonl without the times."""
    text = (workdir / "metrics.jsonl").read_text() if (workdir / "metrics.jsonl").exists() else ""
    return [{k: v for k, v in json.loads(line).items() if k != "time"} for line in text.splitlines()]


def num_lines(workdir: pathlib.Path) -> int:
    log = workdir / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def final_state(workdir: pathlib.Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint, by path; the checkpoint must be that of the run's last step."""
    with Checkpoints(workdir, read_only=True) as checkpoints:
        step = checkpoints.latest_step()
        config = checkpoints.config(step)
        assert step == config.num_steps
        parts = build_model.build_parts(config, num_examples=400)
        state = checkpoints.restore(step, jax.eval_shape(lambda: build_model.create_state(config, parts)))
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def read_all(workdir: pathlib.Path) -> dict[int, dict]:
    """The progress in every checkpoint, by step; each is read in all its parts and must be whole."""
    found = {}
    with Checkpoints(workdir, read_only=True) as checkpoints:
        config = checkpoints.config(checkpoints.latest_step())
        like = jax.eval_shape(
            lambda: build_model.create_state(config, build_model.build_parts(config, num_examples=400))
        )
        for step in checkpoints.steps():
            assert checkpoints.config(step).seed == config.seed
            assert int(checkpoints.restore(step, like).step) == step
            found[step] = checkpoints.progress(step)
    return found


def tiny_run(workdir: pathlib.Path, *overrides: str) -> list[str]:
    """`train` of a tiny model on drawn facades; everything that a state can hold is in it."""
    fields = {
        "image_size": "32,32",
        "resize_size": "36,36",
        "generator.features": 8,
        "generator.num_downs": 4,
        "generator.dropout_layers": "1,",
        "discriminator.features": 8,
        "discriminator.num_layers": 1,
        "batch_size": 4,
        "ema_decay": 0.9,
        "schedule": "constant",
        "log_every_steps": 1,
        "sample_every_steps": 0,
        "eval_every_steps": 0,
        "mesh.data": -1,
    }
    arguments = [f"--config.{name}={value}" for name, value in fields.items()]
    return ["train", "--config=default", f"--workdir={workdir}", *arguments, *overrides]
