"""The PatchGAN: its published size, its maps and its receptive fields."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2pix_jax.models import PatchDiscriminator

IMAGES = jnp.zeros((2, 256, 256, 3)), jnp.zeros((2, 256, 256, 3))


def shapes(model: PatchDiscriminator):
    return jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), *IMAGES))


def test_published_number_of_parameters():
    _, variables = shapes(PatchDiscriminator())
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == 2_768_705


@pytest.mark.parametrize(("num_layers", "side"), [(0, 256), (1, 126), (2, 62), (3, 30), (4, 14), (5, 6)])
def test_published_sizes_of_the_logit_map(num_layers, side):
    logits, variables = shapes(PatchDiscriminator(num_layers=num_layers))
    assert (logits.shape, logits.dtype) == ((2, side, side, 1), jnp.float32)
    widths = [variables["params"][f"conv{i}"]["kernel"].shape[-1] for i in range(max(num_layers, 1) + 1)]
    assert widths == [64 * min(2**i, 8) for i in range(max(num_layers, 1) + 1)]


FIELDS = [(0, 1), (1, 16), (2, 34), (3, 70), (4, 142), (5, 286)]


@pytest.mark.parametrize("padding", ["zero", "reflect"])
@pytest.mark.parametrize(("num_layers", "field"), FIELDS)
def test_published_receptive_fields(num_layers, field, padding):
    """The pixels that the middle logit's gradient reaches, in both images; changed, their outermost rows move it."""
    model = PatchDiscriminator(features=2, num_layers=num_layers, norm="none", padding=padding)
    size = 2 * (field // 2 + 2 ** (num_layers + 1) + 8)
    pair = np.random.default_rng(0).uniform(-1, 1, (2, 1, size, size, 1)).astype(np.float32)
    _, abstract = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), *pair))
    rng = np.random.default_rng(0)
    # Positive weights and images, so that no leaky ReLU hides a change.
    variables = jax.tree.map(lambda x: rng.uniform(0.5, 1, x.shape).astype(np.float32) / x.size, abstract)
    pair = np.abs(pair)

    @jax.jit
    def middle(pair):
        logits = model.apply(variables, *pair)
        return logits[0, logits.shape[1] // 2, logits.shape[2] // 2, 0]

    reached = np.asarray(jax.jit(jax.grad(middle))(pair))[:, 0, :, :, 0] != 0
    for image in (0, 1):
        for axis in (0, 1):
            (where,) = np.nonzero(reached[image].any(axis))
            assert where[-1] - where[0] + 1 == len(where) == field
            assert where[0] > 0 and where[-1] < size - 1  # the border cuts nothing off
    (rows,) = np.nonzero(reached[0].any(1))
    for row, moves in ((rows[0], True), (rows[-1], True), (rows[0] - 1, False), (rows[-1] + 1, False)):
        changed = pair.copy()
        changed[:, 0, row] += 1e6
        assert (middle(changed) != middle(pair)) == moves, row
