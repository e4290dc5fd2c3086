"""The heads of a vision-aided discriminator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2pix_jax.models import Backbone, VisionAidedDiscriminator

KERNELS = [np.random.default_rng(i).normal(size=(3, width)).astype(np.float32) for i, width in enumerate((8, 16))]
IMAGES = np.random.default_rng(2).uniform(-1, 1, (2, 2, 32, 32, 3)).astype(np.float32)


def activations(candidate, scale=100.0):
    """A "network" of two layers, each with its own stride."""
    return [
        scale * jax.nn.relu(jnp.matmul(candidate[:, ::step, ::step], kernel))
        for step, kernel in zip((4, 8), KERNELS, strict=True)
    ]


def network(activations=activations, **options):
    return VisionAidedDiscriminator(features=8, num_layers=1, backbone=Backbone(activations, widths=(8, 16)), **options)


@pytest.fixture(scope="module")
def variables():
    def refuse(candidate):
        raise AssertionError("initialisation needs no trained weights")

    return jax.jit(network(refuse).init)(jax.random.key(0), *IMAGES)


def scores(variables, images=IMAGES, model=None):
    return (model or network()).apply(variables, *images, use_running_average=True)


@pytest.mark.parametrize("num_scales", [1, 2])
def test_scores_of_scales_come_first_then_those_of_heads(num_scales):
    model = network(num_scales=num_scales)
    logits = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), *IMAGES)[0])
    answer = jax.eval_shape(lambda: scores(model.init(jax.random.key(0), *IMAGES), model=model))
    assert len(logits) == len(answer) == num_scales + 2
    assert [x.shape for x in answer[-2:]] == [(2, 8, 8, 1), (2, 4, 4, 1)]
    assert {x.dtype for x in answer} == {jnp.dtype("float32")}


def test_heads_see_directions_and_the_input(variables):
    before = scores(variables)
    louder = scores(variables, model=network(lambda candidate: activations(candidate, scale=1e4)))
    other_input = scores(variables, (IMAGES[1], IMAGES[1]))
    blind = network(conditional=False)
    blind_variables = blind.init(jax.random.key(0), *IMAGES)
    blind_scores = [scores(blind_variables, (image, IMAGES[1]), blind) for image in IMAGES]
    for head in (1, 2):
        np.testing.assert_allclose(louder[head], before[head], atol=1e-3)
        assert np.abs(other_input[head] - before[head]).max() > 1e-6
        np.testing.assert_array_equal(*(found[head] for found in blind_scores))


def test_gradients_reach_the_candidate_through_every_head(variables):
    for head in (1, 2):
        gradient = jax.grad(lambda x, head=head: scores(variables, (IMAGES[0], x))[head].sum())(IMAGES[1])
        assert np.abs(gradient).max() > 0 and np.isfinite(gradient).all()


def test_a_candidate_that_the_network_does_not_see_has_a_gradient(variables):
    """Where all activations are 0, as AlexNet's can be."""
    gradient = jax.grad(lambda x: sum(s.sum() for s in scores(variables, (IMAGES[0], x))))(jnp.zeros_like(IMAGES[1]))
    assert np.isfinite(gradient).all()
