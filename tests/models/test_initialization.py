import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2pix_jax import models
from pix2pix_jax.models import initialization

IMAGE = jnp.zeros((1, 32, 32, 3))


def generator():
    return models.UNetGenerator(features=8, num_downs=3)


def kernels(variables):
    return [x for x in jax.tree.leaves(variables["params"]) if x.ndim == 4]


def test_a_network_draws_at_once_what_its_layers_would_draw():
    """Kernels N(0, 0.02), scales N(1, 0.02), biases 0 (the paper, section 6.2), of the same shapes; nothing twice."""
    at_once = jax.jit(lambda: initialization.init_at_once(generator(), jax.random.key(0), IMAGE, deterministic=True))()
    alone = jax.eval_shape(lambda: generator().init(jax.random.key(0), IMAGE, deterministic=True))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), at_once) == jax.tree.map(lambda x: (x.shape, x.dtype), alone)
    drawn = np.concatenate([x.ravel() for x in kernels(at_once)])
    assert len(np.unique(drawn)) > 0.99 * len(drawn)
    assert drawn.mean() == pytest.approx(0, abs=4 * 0.02 / len(drawn) ** 0.5)
    assert drawn.std() == pytest.approx(0.02, rel=4 / (2 * len(drawn)) ** 0.5)
    scale = at_once["params"]["down1_norm"]["scale"]
    assert 0.002 < scale.std() < 0.06 and scale.mean() == pytest.approx(1, abs=0.03)
    assert not at_once["params"]["up0"]["bias"].any()


def test_the_key_alone_decides():
    init = jax.jit(lambda key: initialization.init_at_once(generator(), key, IMAGE, deterministic=True))
    first, again, other = (kernels(init(jax.random.key(seed))) for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not any((a == b).any() for a, b in zip(first, other, strict=True))


def test_one_draw_is_compiled():
    """Where each layer drew for itself, compiling the state took most of what precedes a first step."""
    text = jax.jit(lambda: initialization.init_at_once(generator(), jax.random.key(0), IMAGE)).lower().as_text()
    assert text.count("erf_inv") <= 2 < len(kernels(jax.eval_shape(generator().init, jax.random.key(0), IMAGE)))


def test_kernels_in_spectral_norm_are_normalised_alike():
    module = models.PatchDiscriminator(features=8, num_layers=1, spectral_norm=True)
    at_once = jax.jit(lambda: initialization.init_at_once(module, jax.random.key(0), IMAGE, IMAGE))()
    alone = jax.jit(lambda: module.init(jax.random.key(0), IMAGE, IMAGE))()
    for one, other in zip(kernels(at_once), kernels(alone), strict=True):
        assert one.std() == pytest.approx(float(other.std()), rel=0.1) and not (one == other).any()


def test_layers_draw_for_themselves_again_after_an_error():
    with pytest.raises(ValueError, match="both sides"):
        initialization.init_at_once(generator(), jax.random.key(0), jnp.zeros((1, 30, 30, 3)), deterministic=True)
    one, other = (initialization.normal(1.0)(jax.random.key(key), (4,)) for key in (0, 1))
    assert (one != other).all()
