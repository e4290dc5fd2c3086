"""The train and translate steps, against their definition written out with plain gradients."""

import functools

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pix2pix_jax.configuration import build_model
from pix2pix_jax.data import augment
from pix2pix_jax.gan import losses, train_step
from pix2pix_jax.gan.state import random_streams
from pix2pix_jax.models.convolutions import layers


def reference_step(config, parts, state, batch):
    """One update as the paper and pytorch-CycleGAN-and-pix2pix define it: losses, gradients, Adam, in their order."""
    augment_key, dropout_key, _ = jax.random.split(jax.random.fold_in(random_streams(config.seed)[1], state.step), 3)
    pair = augment.crop_and_mirror(batch, augment_key, size=tuple(config.image_size), mirror=True)
    g, d = state.generator, state.discriminator
    d_loss_fn, g_loss_fn = losses.GAN_LOSSES[config.gan_loss]

    def generate(params):
        variables = {"params": params, "batch_stats": g.batch_stats}
        return parts.generator.apply(variables, pair["input"], rngs={"dropout": dropout_key}, mutable="batch_stats")[0]

    def judge(params, candidate):
        variables = {"params": params, "batch_stats": d.batch_stats}
        return parts.discriminator.apply(variables, pair["input"], candidate, mutable="batch_stats")[0]

    def d_loss(params):
        fake = judge(params, generate(g.params))
        return 0.5 * (d_loss_fn(fake, 0.0).mean() + d_loss_fn(judge(params, pair["target"]), 1.0).mean())

    d_updates, _ = parts.d_optimizer.update(jax.grad(d_loss)(d.params), d.opt_state, d.params)
    new_d = optax.apply_updates(d.params, d_updates)
    opponent = new_d if config.update_order == "sequential" else d.params

    def g_loss(params):
        fake = generate(params)
        gan = g_loss_fn(judge(opponent, fake), 1.0).mean()
        return gan + config.l1_weight * jnp.abs(pair["target"] - fake).mean()

    g_updates, _ = parts.g_optimizer.update(jax.grad(g_loss)(g.params), g.opt_state, g.params)
    return optax.apply_updates(g.params, g_updates), new_d


@pytest.mark.parametrize(("order", "gan_loss"), [("sequential", "vanilla"), ("simultaneous", "hinge")])
def test_a_step_is_what_its_definition_says(build, tiny_config, order, gan_loss, make_batch):
    # Weights of Adam's first step are all about the learning rate: a large one tells the two orders apart.
    config = tiny_config(
        f"--config.update_order={order}", f"--config.gan_loss={gan_loss}", "--config.learning_rate=0.05"
    )
    parts, state, step = build(config)
    state, _ = step(state, make_batch())  # so that Adam's moments are not zero
    g_params, d_params = jax.jit(functools.partial(reference_step, config, parts))(state, make_batch())
    after, _ = step(state, make_batch())
    # Adam divides by the root of a running mean square, which magnifies rounding where gradients nearly vanish.
    for expected, found in ((g_params, after.generator.params), (d_params, after.discriminator.params)):
        errors = jax.tree.map(lambda a, b: jnp.abs(a - b).ravel(), expected, found)
        assert np.quantile(np.concatenate(jax.tree.leaves(errors)), 0.99) < 1e-3


def test_a_step_in_the_form_for_gpus_is_the_same_step(build, tiny_config, make_batch):
    """Also what is computed again for the backward pass, and the gradients of gradients of a penalty."""
    overrides = ("gan_loss=wgan-gp", "discriminator.norm=instance", "remat=True", "batch_size=1")
    config = tiny_config(*(f"--config.{override}" for override in overrides))
    _, state, step = build(config)

    def run(form):
        return jax.jit(layers.traced_for(form)(step.__wrapped__))(state, make_batch(1))

    (plain, metrics), (after, found) = run("default"), run("gpu")
    assert float(metrics["d_penalty"]) > 0
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found, metrics)
    # Adam's first moment is half of the gradient.
    for network in ("generator", "discriminator"):
        expected, mu = (getattr(s, network).opt_state[0].mu for s in (plain, after))
        scale = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(expected))
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4 * scale), mu, expected)


@pytest.fixture(scope="module")
def built(build, tiny_config):
    return build(tiny_config("--config.batch_size=8", "--config.learning_rate=0.002"))


def test_a_step_depends_on_state_and_batch_alone(built, make_batch):
    _, state, step = built
    batch = make_batch(count=8)
    first, second = step(state, batch), step(state, batch)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    other = step(state.replace(step=state.step + 1), batch)
    assert float(other[1]["g_l1"]) != float(first[1]["g_l1"])  # other crops
    assert int(first[0].step) == 1


def test_training_lowers_l1(built, make_batch):
    _, state, step = built
    batch = make_batch(count=8)
    first = None
    for _ in range(30):
        state, metrics = step(state, batch)
        first = metrics if first is None else first
    assert float(metrics["g_l1"]) < 0.9 * float(first["g_l1"])


def test_bfloat16_computes_with_float32_parameters_and_statistics(build, tiny_config, make_batch):
    _, state, step = build(tiny_config("--config.compute_dtype=bfloat16"))
    state, metrics = step(state, make_batch())
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating))
    assert bool(train_step.all_finite(metrics))


def equations(jaxpr):
    """Those of a program and of all programs within it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from equations(inner)


@pytest.mark.parametrize(
    "overrides",
    [
        ("feature_weight=10", "l2_weight=1", "gan_loss=wgan-gp", "r1_weight=1"),
        ("feature_weight=10", "generator.norm=group", "discriminator.norm=instance", "charbonnier_weight=1"),
        ("generator.name=resnet", "generator.num_blocks=1", "discriminator.spectral_norm=True", "gan_loss=hinge"),
    ],
)
def test_under_bfloat16_losses_and_sums_over_pixels_are_of_float32(tiny_config, make_batch, overrides):
    """In 8 bits of mantissa a sum soon no longer grows. The 16 taps of a convolution may be added up so."""
    config = tiny_config("--config.compute_dtype=bfloat16", *(f"--config.{override}" for override in overrides))
    parts = build_model.build_parts(config, num_examples=10)
    state = jax.eval_shape(functools.partial(build_model.create_state, config, parts))
    program, (_, metrics) = jax.make_jaxpr(build_model.build_train_step(config, parts), return_shape=True)(
        state, make_batch()
    )
    assert {metric.dtype for metric in metrics.values()} == {jnp.dtype("float32")}
    for equation in equations(program.jaxpr):
        if equation.primitive.name in ("reduce_sum", "cumsum", "reduce_window_sum"):
            [given], [result] = equation.invars, equation.outvars
            assert given.aval.dtype != jnp.bfloat16 or given.aval.size <= 16 * result.aval.size, str(equation)


def test_all_finite_finds_one_bad_number():
    tree = {"a": jnp.ones(3), "n": jnp.array(1), "b": jnp.array([1.0, jnp.inf])}
    assert not train_step.all_finite(tree)
    assert train_step.all_finite({**tree, "b": jnp.zeros(2)})


def test_unknown_names_are_refused(built):
    parts = built[0]
    with pytest.raises(ValueError, match="sideways"):
        train_step.StepOptions(seed=0, image_size=(32, 32), update_order="sideways")
    with pytest.raises(ValueError, match="mine"):
        train_step.make_translate_step(parts.generator, norm_stats="mine")
