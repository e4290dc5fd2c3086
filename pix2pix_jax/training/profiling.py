"""Traces the devices and the host during a few steps, for TensorBoard's profile plugin and for Perfetto."""

import contextlib
import pathlib
import socket
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath

from pix2pix_jax.errors import UserError
from pix2pix_jax.io import storage
from pix2pix_jax.runtime import console
from pix2pix_jax.training.callbacks import Callback
from pix2pix_jax.workdir import folder as workdir_lib


def check_reached(steps: Sequence[int] | None, *, total: int) -> None:
    """Raises UserError if a run of `total` steps ends before the first of `steps`."""
    if steps and steps[0] > total:
        given = f"config.profile_steps: {steps[0]},{steps[1]}"
        raise UserError(f"{given}, but the run ends at step {total}, so there is nothing to trace; use earlier steps")


class Profiler(Callback, contextlib.AbstractContextManager["Profiler"]):
    """Traces the steps of `steps`, (first, last), or those of them that the run has; None traces nothing.

    The trace begins when the devices have finished the steps before the first, and ends when they have finished the
    last. Samples, checkpoints and the reading of data between them are in it. Every process traces its own devices, so
    that the one which others wait for can be found. All files go to WORKDIR/plugins/profile/steps-FIRST-LAST, where
    TensorBoard shows them as hosts of one run.

    A context manager: where an error ends the run, an unfinished trace is dropped.
    """

    def __init__(self, steps: Sequence[int] | None, workdir: epath.Path):
        self._steps = range(steps[0], steps[1] + 1) if steps else range(0)
        self._folder = workdir / "plugins" / "profile" / "-".join(map(str, ("steps", *(steps or ()))))
        self._scratch: tempfile.TemporaryDirectory | None = None  # during a trace
        self._first = 0  # the first step of the trace

    @property
    def disturbed(self) -> range:
        """Returns the steps that it slows: those traced, and the next, which waits until the trace is written."""
        return range(self._steps.start, self._steps.stop + 1) if self._steps else self._steps

    def before_step(self, step: int, state: Any) -> None:
        if step not in self._steps or self._scratch:
            return
        jax.block_until_ready(state)
        self._first = step
        self._scratch = tempfile.TemporaryDirectory(prefix="pix2pix-profile-")
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # else every call of a Python function is traced, which slows the loop
        jax.profiler.start_trace(self._scratch.name, create_perfetto_trace=True, profiler_options=options)

    def on_step(self, step: int, state: Any, metrics: Any) -> None:
        if self._scratch and step == self._steps[-1]:
            self._finish(step, state)

    def on_end(self, step: int, state: Any) -> None:
        if self._scratch:
            self._finish(step, state)

    def _finish(self, step: int, state: Any) -> None:
        jax.block_until_ready(state)
        scratch, self._scratch = self._scratch, None
        with scratch as name:
            jax.profiler.stop_trace()
            self._keep(pathlib.Path(name))
        console.log(
            f"profile_steps: the trace of steps {self._first} to {step} is in {self._folder}; open its .json.gz in "
            "ui.perfetto.dev, or pip install xprof, and tensorboard --logdir WORKDIR"
        )

    def _keep(self, scratch: pathlib.Path) -> None:
        process = socket.gethostname() + (f"-{jax.process_index()}" if jax.process_count() > 1 else "")
        with workdir_lib.writing():
            storage.make_folder(self._folder)
            for name in ("xplane.pb", "perfetto_trace.json.gz"):
                (made,) = scratch.glob(f"plugins/profile/*/*{name}")
                storage.write(self._folder / f"{process}.{name}", made.read_bytes())

    def __exit__(self, exception_type, exception, traceback) -> None:
        if self._scratch:  # an error ends the run
            with self._scratch:
                jax.profiler.stop_trace()
