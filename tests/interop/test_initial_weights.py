"""A run that starts from another one, or from a file: which layers it takes, which it leaves alone."""

import pathlib
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.errors import UserError
from pix2pix_jax.export import formats
from pix2pix_jax.inference import trained_model
from pix2pix_jax.interop import initial_weights, layout, transfer
from pix2pix_jax.interop.architectures import Architecture, entries_of
from pix2pix_jax.io import pth
from pix2pix_jax.workdir.checkpoints import Checkpoints

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "popular"


def flat(tree):
    return {path: np.asarray(x) for path, x in traverse_util.flatten_dict(tree, sep="/").items()}


def begin(config, build):
    """The state that a run of this config begins with."""
    _, state, _ = build(config)
    return initial_weights.start_from(
        config, state, initial_weights.read(config), place=lambda x: jax.tree.map(jnp.asarray, x)
    )


def assert_equal(actual, expected, *, but=()):
    actual, expected = flat(actual), flat(expected)
    assert actual.keys() == expected.keys()
    for path in actual:
        if not path.startswith(but):
            np.testing.assert_array_equal(actual[path], expected[path], err_msg=path)


def tiny(tiny_config, source, *fields):
    return tiny_config(f"--config.init_from={source}", *(f"--config.{field}" for field in fields))


def test_a_run_begins_with_both_networks_of_another(trained, tiny_config, build, capsys):
    state = begin(tiny(tiny_config, trained, "seed=5", "ema_decay=0.9"), build)
    assert_equal(state.generator.variables, trained_model.load(trained).variables)
    assert_equal(state.discriminator.variables, transfer.restore_discriminator(trained, "latest")[1])
    assert_equal(state.ema, state.generator.params)
    log = capsys.readouterr()
    assert "generator of" in log.out + log.err and "discriminator too" in log.out + log.err


def test_a_file_has_the_generator_alone(trained, tiny_config, build, tmp_path, capsys):
    file = str(tmp_path / "m.safetensors")
    formats.export(str(trained), file)
    config = tiny(tiny_config, file, "seed=5")
    state = begin(config, build)
    assert_equal(state.generator.variables, trained_model.load(trained).variables)
    assert_equal(state.discriminator.variables, build(config)[1].discriminator.variables)
    log = capsys.readouterr()
    assert "no discriminator" in log.out + log.err


@pytest.mark.heavy
def test_other_channels_bring_new_heads_which_the_log_names(trained, tiny_config, build, capsys):
    config = tiny(tiny_config, trained, "seed=5", "input_channels=1")
    state, fresh = begin(config, build), build(config)[1]
    log = capsys.readouterr()
    assert re.search(r"generator of .*begin anew: down0\n", log.out + log.err)
    assert re.search(r"discriminator too.*begin anew: conv0\n", log.out + log.err)
    assert_equal(state.generator.params, trained_model.load(trained).variables["params"], but=("down0",))
    assert_equal(state.generator.params["down0"], fresh.generator.params["down0"])
    config = tiny(tiny_config, trained, "seed=5", "target_channels=1")
    assert_equal(begin(config, build).generator.params, trained_model.load(trained).variables["params"], but=("up0",))


def test_another_generator_is_refused_with_the_fields_to_set(trained, tiny_config, build):
    with pytest.raises(UserError, match=r"config\.init_from: .*set --config\.generator\.features=8"):
        begin(tiny(tiny_config, trained, "generator.features=4"), build)
    with pytest.raises(UserError, match=r"config\.init_from: .*no-such.*no checkpoint"):
        begin(tiny(tiny_config, f"{trained}/no-such"), build)


@pytest.mark.heavy
def test_another_discriminator_begins_anew(trained, tiny_config, build, capsys):
    config = tiny(tiny_config, trained, "discriminator.features=4")
    assert_equal(begin(config, build).discriminator.variables, build(config)[1].discriminator.variables)
    log = capsys.readouterr()
    assert "the discriminator begins anew" in log.out + log.err
    assert "to have it, set --config.discriminator.features=8" in log.out + log.err


@pytest.fixture(scope="module")
def published():
    return dict(pth.read(GOLDEN / "resnet.pth"))


def expected_of(weights):
    weights = layout.clean(weights)
    return layout.from_torch(weights, layout.infer(weights, "resnet.pth", "generator"), "resnet.pth")


def of_published(tiny_config, file, published, *fields):
    architecture = layout.infer(layout.clean(published), "resnet.pth", "generator")
    known = (f"generator.features={architecture.features}", f"generator.num_blocks={architecture.depth}")
    channels = (f"input_channels={architecture.input_channels}", f"target_channels={architecture.target_channels}")
    norm = (f"generator.norm={architecture.norm}", f"generator.bias={architecture.bias}")
    return tiny(tiny_config, file, "generator.name=resnet", *known, *channels, *norm, *fields)


@pytest.mark.heavy
def test_a_published_file_as_it_is_and_with_other_names(published, tiny_config, build, tmp_path, capsys):
    """Real: the CUT family has `block` where this family has `conv_block`."""
    file = tmp_path / "latest_net_G.pth"
    files = [published, dict(sorted(published.items()))]  # its own names count for more than its order
    files.append({key.replace("conv_block", "block"): array for key, array in published.items()})
    for weights in files:
        pth.write(file, weights)
        state = begin(of_published(tiny_config, file, published, "generator.dropout=0"), build)
        assert_equal(state.generator.variables, expected_of(published))
    log = capsys.readouterr()
    lines = [line for line in (log.out + log.err).splitlines() if "is taken for" in line]
    assert len(lines) == 1 and "block is taken for conv_block" in lines[0], lines


@pytest.mark.heavy
def test_affine_instance_norms_are_batch_norms_at_batch_size_1(tiny_config, build, tmp_path, capsys):
    """A file with affine=True: biases ahead of norms, scales and shifts, no running statistics."""
    shape = {"depth": 1, "features": 2, "input_channels": 3, "target_channels": 3, "dropout": False}
    rng = np.random.default_rng(0)
    weights = {}
    affine = Architecture(network="resnet", norm="batch", bias="always", **shape)
    for entry in entries_of(affine):
        if entry.path and not entry.path.startswith("batch_stats"):
            weights[entry.key.replace("conv_block", "block")] = rng.normal(size=entry.shape).astype(np.float32)
    pth.write(tmp_path / "G.pth", weights)
    sizes = ("generator.name=resnet", "generator.num_blocks=1", "generator.features=2", "generator.dropout=0")
    config = tiny(tiny_config, tmp_path / "G.pth", *sizes, "batch_size=1")
    state = begin(config, build)
    log = capsys.readouterr()
    assert "affine instance norms become batch norms" in log.out + log.err
    parts = build(config)[0]
    image = jnp.asarray(rng.uniform(-1, 1, (1, 16, 16, 3)), jnp.float32)
    actual = parts.generator.apply(state.generator.variables, image, deterministic=True, mutable="batch_stats")[0]
    np.testing.assert_allclose(actual, _affine_resnet(weights, image), atol=1e-4)
    with pytest.raises(UserError, match=r"norm with parameters, model\.2, .*norm=batch"):
        begin(tiny(tiny_config, tmp_path / "G.pth", *sizes, "generator.norm=instance"), build)


def _affine_resnet(weights, image):
    """The network of that file by the definition, apart from pix2pix_jax."""
    lax, numbers = jax.lax, ("NCHW", "OIHW", "NCHW")

    def conv(x, name, *, stride=1, reflect=0, pad=0):
        x = jnp.pad(x, ((0, 0), (0, 0), (reflect, reflect), (reflect, reflect)), mode="reflect")
        pads = [(pad, pad)] * 2
        x = lax.conv_general_dilated(x, weights[f"{name}.weight"], (stride, stride), pads, dimension_numbers=numbers)
        return x + weights[f"{name}.bias"].reshape(1, -1, 1, 1)

    def up(x, name):
        kernel = weights[f"{name}.weight"].transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
        pads = [(1, 2)] * 2
        x = lax.conv_general_dilated(x, kernel, (1, 1), pads, lhs_dilation=(2, 2), dimension_numbers=numbers)
        return x + weights[f"{name}.bias"].reshape(1, -1, 1, 1)

    def norm(x, name):
        x = (x - x.mean((2, 3), keepdims=True)) / jnp.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
        return x * weights[f"{name}.weight"].reshape(1, -1, 1, 1) + weights[f"{name}.bias"].reshape(1, -1, 1, 1)

    with jax.numpy_rank_promotion("allow"):
        x = image.transpose(0, 3, 1, 2)
        x = jax.nn.relu(norm(conv(x, "model.1", reflect=3), "model.2"))
        x = jax.nn.relu(norm(conv(x, "model.4", stride=2, pad=1), "model.5"))
        x = jax.nn.relu(norm(conv(x, "model.7", stride=2, pad=1), "model.8"))
        y = jax.nn.relu(norm(conv(x, "model.10.block.1", reflect=1), "model.10.block.2"))
        x = x + norm(conv(y, "model.10.block.5", reflect=1), "model.10.block.6")
        x = jax.nn.relu(norm(up(x, "model.11"), "model.12"))
        x = jax.nn.relu(norm(up(x, "model.14"), "model.15"))
        return jnp.tanh(conv(x, "model.18", reflect=3)).transpose(0, 2, 3, 1)


@pytest.mark.heavy
def test_a_frozen_encoder_stays_and_a_resumed_run_ends_in_the_same_bits(trained, tiny_flags, run, tmp_path):
    source = shutil.copytree(trained, tmp_path / "source")
    flags = ["--config=default", *tiny_flags, f"--config.init_from={source}", "--config.freeze=encoder"]

    def train(name, steps):
        code, _, errors = run("train", f"--workdir={tmp_path / name}", *flags, f"--config.num_steps={steps}")
        assert code == 0, errors
        return trained_model.load(tmp_path / name).variables["params"]

    whole = train("whole", 4)
    train("resumed", 2)
    shutil.rmtree(source)  # it is read before step 0 only
    assert_equal(train("resumed", 4), whole)
    before = trained_model.load(trained).variables["params"]
    for layer in whole:
        same = all(np.array_equal(whole[layer][name], before[layer][name]) for name in whole[layer])
        assert same == layer.startswith("down"), layer
    with Checkpoints(tmp_path / "whole", read_only=True) as reader:
        assert reader.config(4).freeze == "encoder"


def test_what_cannot_be_frozen_is_refused(trained, tiny_config, build):
    with pytest.raises(UserError, match=r"config\.freeze: encoder, but init_from is empty"):
        tiny_config("--config.freeze=encoder")
    with pytest.raises(UserError, match=r"config\.freeze: encoder, but .* other channels in down0"):
        begin(tiny(tiny_config, trained, "freeze=encoder", "input_channels=1"), build)
    begin(tiny(tiny_config, trained, "freeze=inner", "input_channels=1"), build)


def test_the_start_is_no_field_that_may_change(tiny_config):
    differences = config_lib.differences(tiny_config(), tiny_config("--config.init_from=a"))
    assert differences == ["config.init_from:  -> a"]
