"""Batches taken in parts, against the whole batch and against a loop written out; activations computed again."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pix2pix_jax.configuration import build_model
from pix2pix_jax.data import augment
from pix2pix_jax.gan import gradients
from pix2pix_jax.gan.diff_augment import POLICIES, diff_augment
from pix2pix_jax.gan.state import random_streams

# Biases before a norm have no gradient but rounding, which Adam's division would make steps of full size of.
SMOOTH = ("--config.eps=1e-3", "--config.learning_rate=0.01")
CLOSE = {"rtol": 1e-3, "atol": 1e-4}  # of a step of 1e-2


def assert_close(a, b, **tolerance):
    jax.tree.map(functools.partial(np.testing.assert_allclose, **tolerance), a, b)


@pytest.mark.parametrize(
    "options",
    [
        ("update_order=sequential",),
        ("update_order=simultaneous", "gan_loss=hinge", "feature_weight=10", "r1_weight=1", "l2_weight=1"),
    ],
)
def test_parts_make_the_step_of_the_whole_batch_where_examples_do_not_mix(build, tiny_config, options, make_batch):
    independent = ("batch_size=4", "generator.norm=instance", "discriminator.norm=instance", "generator.dropout=0")
    overrides = [f"--config.{option}" for option in (*independent, *options)]
    whole, in_parts = (
        build(tiny_config(*SMOOTH, *overrides, f"--config.accumulate_steps={count}")) for count in (1, 2)
    )
    state = expected = whole[1]
    for _ in range(2):
        state, metrics = in_parts[2](state, make_batch(count=4))
        expected, expected_metrics = whole[2](expected, make_batch(count=4))
        assert_close(metrics, expected_metrics, rtol=1e-4)
    assert_close(state, expected, **CLOSE)


def reference_step(config, parts, state, batch):
    """One update in two parts, written out: (params and batch_stats of the generator and of the discriminator)."""
    augment_key, dropout_key, _ = jax.random.split(jax.random.fold_in(random_streams(config.seed)[1], state.step), 3)
    pair = augment.crop_and_mirror(batch, augment_key, size=tuple(config.image_size), mirror=True)
    split = [
        (pair["input"][j::2], pair["target"][j::2], {"dropout": jax.random.fold_in(dropout_key, j)}) for j in range(2)
    ]
    g, d = state.generator, state.discriminator

    def run(module, params, batch_stats, *images, **options):
        variables = {"params": params, "batch_stats": batch_stats}
        output, updated = module.apply(variables, *images, mutable="batch_stats", **options)
        return output, updated["batch_stats"]

    def d_loss(params):
        stats, total = d.batch_stats, 0.0
        for image, target, rngs in split:
            fake, _ = run(parts.generator, g.params, g.batch_stats, image, rngs=rngs)
            on_fake, stats = run(parts.discriminator, params, stats, image, fake)
            on_real, stats = run(parts.discriminator, params, stats, image, target)
            total += 0.5 * (jax.nn.softplus(on_fake).mean() + jax.nn.softplus(-on_real).mean()) / 2
        return total, stats

    d_grads, d_stats = jax.grad(d_loss, has_aux=True)(d.params)
    d_params = optax.apply_updates(d.params, parts.d_optimizer.update(d_grads, d.opt_state, d.params)[0])

    def g_loss(params):
        stats, judge_stats, total = g.batch_stats, d_stats, 0.0
        for image, target, rngs in split:
            fake, stats = run(parts.generator, params, stats, image, rngs=rngs)
            on_fake, judge_stats = run(parts.discriminator, d_params, judge_stats, image, fake)
            total += (jax.nn.softplus(-on_fake).mean() + config.l1_weight * jnp.abs(target - fake).mean()) / 2
        return total, (stats, judge_stats)

    g_grads, (g_stats, d_stats) = jax.grad(g_loss, has_aux=True)(g.params)
    g_params = optax.apply_updates(g.params, parts.g_optimizer.update(g_grads, g.opt_state, g.params)[0])
    return (g_params, g_stats), (d_params, d_stats)


def test_batch_norm_and_dropout_see_a_part_at_a_time(build, tiny_config, make_batch):
    overrides = ("--config.batch_size=4", "--config.generator.dropout_layers=1,2", "--config.accumulate_steps=2")
    config = tiny_config(*SMOOTH, *overrides)
    parts, state, step = build(config)
    state, _ = step(state, make_batch(count=4))
    expected = jax.jit(functools.partial(reference_step, config, parts))(state, make_batch(count=4))
    after, _ = step(state, make_batch(count=4))
    found = [(network.params, network.batch_stats) for network in (after.generator, after.discriminator)]
    assert_close(tuple(found), expected, **CLOSE)


def test_what_is_computed_again_has_the_same_values(build, tiny_config, make_batch):
    overrides = ("--config.generator.dropout_layers=1,2", "--config.feature_weight=10", *SMOOTH)
    outcomes = []
    for remat in (False, True):
        _, state, step = build(tiny_config(*overrides, f"--config.remat={remat}"))
        for _ in range(2):
            state, metrics = step(state, make_batch())
        outcomes.append((state, metrics))
    assert_close(*outcomes, **CLOSE)


def test_what_is_computed_again_is_not_kept(tiny_config):
    config = tiny_config("--config.generator.dropout_layers=1,2")
    parts = build_model.build_parts(config, num_examples=10)
    image, key = jnp.zeros((2, 32, 32, 3)), jax.random.key(0)
    examples = gradients.Examples(image=image, target=image, dropout_key=key, judge_key=key)

    def kept(remat):
        """Bytes of what a pass of the generator keeps for its gradient, beside the parameters."""
        both = gradients.Gradients(parts=parts, remat=remat)

        def values():
            g = build_model.create_state(config, parts).generator
            return [x for x in jax.tree.leaves(both.generate(g, examples).vjp_fn) if x.ndim == 4 and len(x) == 2]

        return sum(math.prod(x.shape) * 4 for x in jax.eval_shape(values))

    # The outputs of the six convolutions: 16x16x8, 8x8x16, 4x4x32, and back 8x8x16, 16x16x8, 32x32x3; and the image.
    outputs = 2 * 4 * (2 * 16 * 16 * 8 + 2 * 8 * 8 * 16 + 4 * 4 * 32 + 2 * 32 * 32 * 3)
    assert kept(remat=True) <= outputs < kept(remat=False) / 2


def test_one_part_is_the_batch_itself():
    examples = gradients.Examples(image=1, target=2, dropout_key=3, judge_key=4)
    seen = gradients.accumulate_gradients(lambda stats, part: (part, stats, {}), "stats", examples, 1)
    assert seen == (examples, "stats", {})


def test_means_are_over_parts_and_statistics_pass_from_one_to_the_next():
    def gradient(stats, part):
        return part.image.sum(), stats * 10 + part.image[0], {"first": part.image[0]}

    key = jax.random.key(0)
    examples = gradients.Examples(image=jnp.arange(6.0), target=jnp.zeros(6), dropout_key=key, judge_key=key)
    grads, stats, metrics = gradients.accumulate_gradients(gradient, jnp.zeros(()), examples, 3)
    assert (grads, stats, metrics["first"]) == (5.0, 12.0, 1.0)  # parts 0 and 3, 1 and 4, 2 and 5


def test_the_discriminator_sees_changed_pairs_in_both_losses(tiny_config):
    """As if the pairs had been changed before; the losses that compare with the target see them as they are."""
    parts = build_model.build_parts(tiny_config("--config.feature_weight=10"), num_examples=10)
    state = build_model.create_state(tiny_config(), parts)
    random = np.random.default_rng(0)
    image, target = (jnp.asarray(random.uniform(-1, 1, (2, 32, 32, 3)), jnp.float32) for _ in range(2))
    key = jax.random.key(3)
    examples = gradients.Examples(image=image, target=target, dropout_key=key, judge_key=key)
    augmenting, plain = (gradients.Gradients(parts=parts, diff_augment=policies) for policies in (POLICIES, ()))

    def changed(x, turn):
        return diff_augment(image, x, jax.random.fold_in(key, turn), POLICIES)

    def moved(turn):
        moved_image, moved_target = changed(target, turn)
        return examples.replace(image=moved_image, target=moved_target)

    @jax.jit
    def compare():
        d, generated = state.discriminator, plain.generate(state.generator, examples)
        fake = generated.fake
        found = augmenting.of_discriminator(d, examples, fake)
        expected = plain.of_discriminator(d, moved(1), changed(fake, 1)[1])
        *_, metrics = augmenting.of_generator(d, examples, generated)
        *_, expected_metrics = plain.of_generator(d, moved(2), generated._replace(fake=changed(fake, 2)[1]))
        expected_metrics["g_l1"] = jnp.abs(fake - target).mean()
        return (found, metrics), (expected, expected_metrics)

    (found, metrics), (expected, expected_metrics) = compare()
    assert_close(found, expected, **CLOSE)
    assert_close(metrics, expected_metrics, rtol=1e-4)
