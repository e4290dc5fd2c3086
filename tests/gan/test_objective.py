"""What the networks minimise, against closed forms and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2pix_jax.gan import objective
from pix2pix_jax.gan.objective import Objective

KEY = jax.random.key(0)


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape), jnp.float32)


def linear_critic(weights: jax.Array):
    """Logits (N, 2, 2, 1), all of them the sum of weights * candidate."""
    return lambda candidate: (jnp.broadcast_to((weights * candidate).sum((1, 2, 3), keepdims=True), (2, 2, 2, 1)),)


def test_the_discriminators_loss_is_scaled_and_its_report_is_not():
    fake, real = (normal(2, 3, 3, 1),), (normal(2, 3, 3, 1, seed=1),)
    half, half_metrics = Objective(gan_loss="lsgan").discriminator_loss(fake, real)
    whole, whole_metrics = Objective(gan_loss="lsgan", d_loss_scale=1.0).discriminator_loss(fake, real)
    np.testing.assert_allclose(whole, jnp.square(fake[0]).mean() + jnp.square(real[0] - 1).mean(), rtol=1e-6)
    np.testing.assert_allclose(half, whole / 2)
    assert half_metrics == whole_metrics


def test_smoothing_moves_the_label_of_the_real_alone():
    fake, real = (normal(2, 3, 3, 1),), (normal(2, 3, 3, 1, seed=1),)
    plain = Objective(gan_loss="lsgan").discriminator_loss(fake, real)[1]
    smooth = Objective(gan_loss="lsgan", label_smoothing=0.1).discriminator_loss(fake, real)[1]
    assert smooth["d_fake"] == plain["d_fake"]
    np.testing.assert_allclose(smooth["d_real"], jnp.square(real[0] - 0.9).mean(), rtol=1e-6)
    deceive = Objective(gan_loss="lsgan", label_smoothing=0.1).generator_gan_loss(fake)[1]["g_gan"]
    np.testing.assert_allclose(deceive, jnp.square(fake[0] - 1).mean(), rtol=1e-6)


def test_scales_are_added_up():
    maps = normal(2, 4, 4, 1), normal(2, 2, 2, 1)
    both = Objective().generator_gan_loss(maps)[0]
    np.testing.assert_allclose(both, sum(Objective().generator_gan_loss((m,))[0] for m in maps), rtol=1e-6)


def test_reconstruction_adds_what_has_a_weight():
    output, target = normal(1, 4, 4, 3), normal(1, 4, 4, 3, seed=1)
    difference = np.asarray(output - target)
    loss, metrics = Objective(l2_weight=2.0, charbonnier_weight=3.0).reconstruction(output, target, KEY)
    smooth = np.sqrt(difference**2 + 1e-6).mean()
    np.testing.assert_allclose(
        loss, 100 * np.abs(difference).mean() + 2 * (difference**2).mean() + 3 * smooth, rtol=1e-5
    )
    assert metrics.keys() == {"g_l1", "g_l2", "g_charbonnier"}
    assert Objective(l1_weight=0.0).reconstruction(output, target, KEY)[1].keys() == {"g_l1"}


def test_features_of_the_real_are_a_fixed_goal():
    fake, real = [normal(1, 4, 4, 2), normal(1, 2, 2, 4)], [normal(1, 4, 4, 2, seed=1), normal(1, 2, 2, 4, seed=1)]
    match = Objective(feature_weight=10.0).feature_matching
    loss, metrics = match(fake, real)
    distance = sum(np.abs(f - r).mean() for f, r in zip(fake, real, strict=True))
    np.testing.assert_allclose(loss, 10 * 4 / 2 * distance, rtol=1e-6)  # 4 over two layers of one scale
    np.testing.assert_allclose(metrics["g_features"], loss / 10, rtol=1e-6)
    gradient = jax.grad(lambda real: match(fake, real)[0])(real)
    assert all((g == 0).all() for g in gradient)


def test_penalties_of_a_linear_critic():
    """Its gradient is its weights wherever one looks."""
    weights, fake, target = normal(1, 3, 3, 2), normal(2, 3, 3, 2), normal(2, 3, 3, 2, seed=1)
    norm = float(jnp.linalg.norm(weights))
    wgan, metrics = Objective(gan_loss="wgan-gp").penalty(linear_critic(weights), fake, target, KEY)
    np.testing.assert_allclose(wgan, 10 * (norm - 1) ** 2, rtol=1e-5)
    assert metrics["d_penalty"] == wgan
    r1, _ = Objective(r1_weight=4.0).penalty(linear_critic(weights), fake, target, KEY)
    np.testing.assert_allclose(r1, 4 / 2 * norm**2, rtol=1e-5)
    both, _ = Objective(gan_loss="wgan-gp", r1_weight=4.0).penalty(linear_critic(weights), fake, target, KEY)
    np.testing.assert_allclose(both, wgan + r1, rtol=1e-5)


def test_without_penalties_there_is_no_report_of_them():
    for recipe in (Objective(), Objective(gan_loss="wgan-gp", gradient_penalty=0.0)):
        assert recipe.penalty(linear_critic(normal(1, 3, 3, 2)), *[normal(2, 3, 3, 2)] * 2, KEY) == (0.0, {})


@pytest.mark.parametrize("recipe", [Objective(gan_loss="wgan-gp"), Objective(r1_weight=10.0)])
def test_the_penalty_has_a_gradient_of_second_order(recipe):
    """Of a critic with curvature, by finite differences in its weights."""
    fake, target = normal(2, 3, 3, 2), normal(2, 3, 3, 2, seed=1)
    weights, direction = normal(1, 3, 3, 2, seed=2), normal(1, 3, 3, 2, seed=3)

    def penalty(weights):
        return recipe.penalty(lambda x: (jnp.tanh(weights * x).sum(3, keepdims=True),), fake, target, KEY)[0]

    along = float((jax.grad(penalty)(weights) * direction).sum())
    h = 1e-2
    difference = float(penalty(weights + h * direction) - penalty(weights - h * direction)) / (2 * h)
    assert abs(along) > 0.01
    np.testing.assert_allclose(along, difference, rtol=2e-2)


def test_a_flat_critic_has_a_finite_gradient():
    """The root of the squared norm has none at 0."""
    fake, target = normal(2, 3, 3, 2), normal(2, 3, 3, 2, seed=1)
    recipe = Objective(gan_loss="wgan-gp")
    gradient = jax.grad(lambda w: recipe.penalty(linear_critic(w), fake, target, KEY)[0])(jnp.zeros((1, 3, 3, 2)))
    assert jnp.isfinite(gradient).all()


def test_mixtures_lie_anywhere_between_fake_and_target():
    shares = objective.interpolation_weights(KEY, 1000)
    assert shares.shape == (1000,) and 0 <= shares.min() < 0.01 and 0.99 < shares.max() <= 1


def test_features_of_bfloat16_are_compared_in_float32():
    fake, real = (jnp.asarray(1 + normal(2, 64, 64, 8, seed=i), jnp.bfloat16) for i in range(2))
    loss, metrics = Objective(feature_weight=1.0).feature_matching([fake], [real])
    desired = 4 * np.abs(np.float64(fake) - np.float64(real)).mean()
    assert loss.dtype == metrics["g_features"].dtype == jnp.float32
    np.testing.assert_allclose(metrics["g_features"], desired, rtol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (8, 12)])
def test_a_perceptual_distance_sees_both_images_whole_at_each_of_16_places(size):
    random = np.random.default_rng(0)
    output, target = (random.uniform(0.1, 1, (2, *size, 3)).astype(np.float32) for _ in range(2))
    seen = []

    def distance(*images):
        seen.append([np.asarray(image) for image in images])
        return jnp.zeros(2)

    for seed in range(100):
        Objective(perceptual_weight=1.0, perceptual=distance).reconstruction(output, target, jax.random.key(seed))
    places = set()
    for images in seen:
        assert {image.shape for image in images} == {(2, size[0] + 3, size[1] + 3, 3)}
        corners = [tuple(np.argwhere(image[0, :, :, 0])[0]) for image in images]
        assert corners[0] == corners[1]  # the same place
        y, x = corners[0]
        for image, before in zip(images, (output, target), strict=True):
            np.testing.assert_array_equal(image[:, y : y + size[0], x : x + size[1]], before)
            assert np.count_nonzero(image) == before.size
        places.add((y, x))
    assert places == {(y, x) for y in range(4) for x in range(4)}


def test_a_perceptual_distance_is_weighted_and_reported_unweighted():
    objective = Objective(perceptual_weight=3.0, perceptual=lambda output, target: jnp.array([0.25, 0.75]))
    output, target = jnp.full((2, 4, 4, 3), 0.5), jnp.zeros((2, 4, 4, 3))
    loss, metrics = objective.reconstruction(output, target, KEY)
    assert metrics["g_perceptual"] == 0.5 and loss == 100 * 0.5 + 3 * 0.5
    with pytest.raises(ValueError, match="perceptual_weight: needs"):
        Objective(perceptual_weight=3.0)
