"""Rematerialisation: what the backward pass finds in memory, and what it computes again.

A network keeps what is dear, the outputs of convolutions, and what is small, the means and variances of norms (which
are sums over all devices). From these the rest follows by elementwise operations: norms, activations, dropout,
concatenations, paddings.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

_KEPT = "kept"


def keep(x: jax.Array) -> jax.Array:
    """x, which is not to be computed again."""
    return checkpoint_name(x, _KEPT)


def recompute_the_rest(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with a gradient that keeps of its intermediate values only what it has marked by `keep`."""
    return jax.checkpoint(function, policy=jax.checkpoint_policies.save_only_these_names(_KEPT))
