"""What a state shows of itself; its contents are tested where they are made and used."""

import functools

import jax
import jax.numpy as jnp

from pix2pix_jax.configuration import build_model
from pix2pix_jax.gan.state import NetworkState, TrainState, count_parameters


def test_a_state_shows_one_line(tiny_config):
    config = tiny_config()
    create = functools.partial(build_model.create_state, config, build_model.build_parts(config, num_examples=1))
    abstract = jax.eval_shape(create)
    state = abstract.replace(step=jnp.int32(6))
    number = f"{count_parameters(state.generator.params):,} parameters"
    assert repr(state).startswith(f"TrainState(step=6, generator=NetworkState({number}), discriminator=NetworkState(")
    assert repr(state).endswith("ema=none)") and len(repr(state)) < 160 and "\n" not in repr(state)
    assert repr(state.generator) == f"NetworkState({number})"
    assert repr(state.replace(ema=state.generator.params)).endswith(f"ema={number})")
    assert repr(abstract) == str(abstract) == repr(state).replace("step=6", "step=?")


def test_a_state_shows_itself_when_its_arrays_are_traced_or_gone():
    params = {"kernel": jnp.zeros((2, 3))}
    network = NetworkState(params=params, batch_stats={}, opt_state=())
    state = TrainState(step=jnp.int32(3), generator=network, discriminator=network)
    shown = []
    jax.jit(lambda state: shown.append(repr(state)) or state.step)(state)
    state.step.delete()
    shown.append(repr(state))
    line = "NetworkState(6 parameters)"
    assert shown == [f"TrainState(step=?, generator={line}, discriminator={line}, ema=none)"] * 2
