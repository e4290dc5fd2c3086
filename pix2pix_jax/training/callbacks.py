"""The protocol of callbacks: losses, samples, validation, checkpoints and all else beside the steps of a run."""

from pix2pix_jax.gan.objective import Metrics
from pix2pix_jax.gan.state import TrainState


class Callback:
    """Does something beside the steps of the training loop. Subclasses override the methods that they need.

    To add a callback, write a subclass in a file of its own and name it in `loop._build_callbacks`, whose order is the
    order of the calls.
    """

    def before_step(self, step: int, state: TrainState) -> None:
        """Runs before the update of `step`, which overwrites `state`."""

    def on_step(self, step: int, state: TrainState, metrics: Metrics) -> None:
        """Runs when the update of `step` is dispatched; the devices may still compute `state` and `metrics`."""

    def on_end(self, step: int, state: TrainState) -> None:
        """Runs once after the last update of a run that is complete or was asked to stop; `on_step` has run for it."""


def due(step: int, period: int) -> bool:
    """Returns whether `step` is a multiple of `period`; never if that is 0."""
    return period > 0 and step % period == 0
