"""Weights of pytorch-CycleGAN-and-pix2pix in our networks, against its outputs (tests/golden/make_popular.py)."""

import dataclasses
import importlib.util
import pathlib

import jax
import numpy as np
import pytest
from flax import traverse_util

from pix2pix_jax.errors import UserError
from pix2pix_jax.interop import layout
from pix2pix_jax.interop.architectures import Architecture
from pix2pix_jax.io import pth
from pix2pix_jax.models.patchgan import PatchDiscriminator
from pix2pix_jax.models.resnet import ResNetGenerator
from pix2pix_jax.models.unet import UNetGenerator

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "popular"
UNET = Architecture(network="unet", depth=5, features=1, norm="batch", bias="auto", input_channels=3, target_channels=3)
RESNET = dataclasses.replace(UNET, network="resnet", depth=2, features=2, norm="instance", dropout=True)
PATCHGAN = Architecture(network="discriminator", depth=3, features=2, norm="batch", bias="auto", input_channels=6)


def like(architecture, **changes):
    return dataclasses.replace(architecture, **changes)


FILES = {
    "unet": UNET,
    "unet_legacy": like(UNET, input_channels=1, target_channels=2),
    "resnet": like(RESNET, features=1, norm="batch", input_channels=2, target_channels=1, depth=3, dropout=False),
    "resnet_dropout": RESNET,
    "patchgan": PATCHGAN,
    "patchgan_old": like(PATCHGAN, depth=1, norm="instance", input_channels=3),
    "pixel": like(PATCHGAN, depth=0),
    "pixel_none": like(PATCHGAN, depth=0, norm="none", input_channels=4),
}


def weights_of(name: str) -> dict[str, np.ndarray]:
    return layout.clean(pth.read(GOLDEN / f"{name}.pth"))


def kind(architecture) -> str:
    return "discriminator" if architecture.network == "discriminator" else "generator"


def infer(weights, architecture):
    return layout.infer(weights, "w.pth", kind(architecture))


def network(architecture):
    """Our network, and the arguments besides images that it needs."""
    a = architecture
    common = {"features": a.features, "norm": a.norm, "bias": a.bias}
    if a.network == "discriminator":
        return PatchDiscriminator(num_layers=a.depth, **common), {}
    common |= {"out_channels": a.target_channels, "dropout": 0.0 if a.dropout is False else 0.5}
    if a.network == "unet":
        return UNetGenerator(num_downs=a.depth, skips=a.skips, **common), {"deterministic": True}
    return ResNetGenerator(num_blocks=a.depth, **common), {"deterministic": True}


def images_for(architecture, image: np.ndarray) -> tuple[np.ndarray, ...]:
    return (image,) if kind(architecture) == "generator" else (image[..., :1], image[..., 1:])


@pytest.mark.parametrize("name", FILES)
def test_a_file_tells_its_architecture(name):
    assert infer(weights_of(name), FILES[name]) == FILES[name]


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", FILES)
def test_our_networks_answer_as_pytorchs(name, mode):
    outputs = np.load(GOLDEN / "outputs.npz")
    variables = layout.from_torch(weights_of(name), FILES[name], name)
    model, options = network(FILES[name])

    @jax.jit
    def answer(variables, *images):
        average = mode == "eval"
        return model.apply(variables, *images, use_running_average=average, mutable=["batch_stats"], **options)[0]

    found = answer(variables, *images_for(FILES[name], outputs[f"{name}/input"]))
    np.testing.assert_allclose(found, outputs[f"{name}/{mode}"], atol=1e-5)


@pytest.mark.parametrize("name", FILES)
def test_weights_return_to_the_same_keys_in_the_same_order(name):
    weights = weights_of(name)
    again = layout.to_torch(layout.from_torch(weights, FILES[name], name), FILES[name])
    counters = {key: again.pop(key) for key in list(again) if key.endswith("num_batches_tracked")}
    assert all(counter.dtype == np.int64 and counter == 0 and counter.shape == () for counter in counters.values())
    assert bool(counters) == (FILES[name].norm == "batch")
    weights = {key: array for key, array in weights.items() if key not in counters}
    assert list(again) == list(weights)
    for key, array in weights.items():
        np.testing.assert_array_equal(again[key], array, strict=True)


GENERATORS = [
    *(like(UNET, norm=n, bias=b) for n, b in [("batch", "always"), ("batch", "never"), ("instance", "auto")]),
    *(like(UNET, norm=n, bias=b) for n, b in [("none", "auto"), ("none", "never")]),
    *(like(UNET, depth=n, skips=skips) for n, skips in [(2, True), (2, False), (3, False), (8, True)]),
    *(like(RESNET, norm="batch", bias=bias, dropout=False) for bias in ("auto", "always", "never")),
    *(like(RESNET, norm=norm, depth=9) for norm in ("batch", "none")),
]
DISCRIMINATORS = [
    *(like(PATCHGAN, depth=n) for n in (1, 2, 4, 5)),
    *(like(PATCHGAN, depth=n, norm=norm) for n in (0, 2) for norm in ("instance", "none")),
    *(like(PATCHGAN, depth=n, bias=bias) for n in (0, 2) for bias in ("always", "last", "never")),
    *(like(PATCHGAN, depth=n, bias=bias, norm="none") for n in (0, 2) for bias in ("last", "never")),
]


@pytest.mark.parametrize("architecture", [*GENERATORS, *DISCRIMINATORS], ids=str)
def test_every_variant_of_our_networks_survives_the_way_there_and_back(architecture):
    model, options = network(architecture)
    side = 2 ** {"unet": architecture.depth, "resnet": 2, "discriminator": 7}[architecture.network]
    images = images_for(architecture, np.zeros((2, side, side, architecture.input_channels), np.float32))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *images, **options))
    random = np.random.RandomState(0)
    variables = {"batch_stats": {}} | jax.tree.map(lambda x: random.standard_normal(x.shape).astype(np.float32), shapes)
    weights = layout.to_torch(variables, architecture)
    assert infer(weights, architecture) == architecture
    again = layout.from_torch(weights, architecture, "w.pth")
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_pytorchs_networks_take_our_weights(tmp_path):
    torch = pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("make_popular", GOLDEN.parent / "make_popular.py")
    make_popular = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_popular)
    theirs = make_popular.UNet(3, 2, features=1, num_downs=5, norm="instance")
    architecture = like(UNET, norm="instance", target_channels=2)
    make_popular.fill(theirs, seed=0)
    variables = layout.from_torch({k: v.numpy() for k, v in theirs.state_dict().items()}, architecture, "w.pth")
    image = np.random.RandomState(0).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    model, options = network(architecture)
    ours = jax.jit(lambda variables, image: model.apply(variables, image, **options))(variables, image)
    pth.write(tmp_path / "w.pth", layout.to_torch(variables, architecture))
    make_popular.fill(theirs, seed=1)
    theirs.load_state_dict(torch.load(tmp_path / "w.pth", weights_only=True), strict=True)
    np.testing.assert_allclose(ours, make_popular.answers(theirs, image)["train"], atol=1e-5)


def test_clean_strips_wrappers_and_unused_statistics():
    weights = weights_of("patchgan")
    for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."):
        assert list(layout.clean({prefix + key: array for key, array in weights.items()})) == list(weights)
    some = {"module.a.weight": weights["model.0.weight"], "b.weight": weights["model.0.weight"]}
    assert list(layout.clean(some)) == list(some)
    old = pth.read(GOLDEN / "patchgan_old.pth")
    assert set(old) - set(layout.clean(old)) == {"model.3.running_mean", "model.3.running_var"}


@pytest.mark.parametrize("name", FILES)
def test_a_generator_is_no_discriminator(name):
    held = kind(FILES[name])
    wanted, letter = ("discriminator", "D") if held == "generator" else ("generator", "G")
    with pytest.raises(UserError, match=rf"^x.pth: holds a {held}, not a {wanted}; give .*net_{letter}"):
        layout.infer(weights_of(name), "x.pth", wanted)


@pytest.mark.parametrize("wanted", ["generator", "discriminator"])
def test_other_networks(wanted):
    kernel = np.zeros((4, 3, 4, 4))
    resnet18 = {"conv1.weight": kernel, "layer1\n\x1b.weight": kernel} | {f"fc{n}.bias": kernel for n in range(20)}
    with pytest.raises(UserError, match=r"^x.pth: holds neither a gen.*, but conv1.weight, .*, and 14 more;") as caught:
        layout.infer(resnet18, "x.pth", wanted)
    assert str(caught.value).isprintable()
    with pytest.raises(UserError, match="neither"):
        layout.infer({}, "x.pth", wanted)


@pytest.mark.parametrize(
    ("wanted", "weights"),
    [
        ("generator", {"model.model.0.bias": np.zeros(3)}),
        ("generator", {"model.model.0.weight": np.zeros((2, 3, 4, 4))}),
        ("generator", {"model.1.weight": np.zeros((2, 3, 7))}),
        ("generator", {"model.1.weight": np.zeros((2, 3, 7, 7)), "model.17.weight": np.zeros((0, 2, 7, 7))}),
        ("discriminator", {"model.0.weight": np.zeros(())}),
        ("discriminator", {"net.0.weight": np.zeros((2, 0, 1, 1))}),
    ],
)
def test_kernels_that_are_none(wanted, weights):
    with pytest.raises(UserError, match=r"^x.pth: not a network of .*weight is no kernel"):
        layout.infer(weights, "x.pth", wanted)


def test_weights_that_do_not_fit():
    weights = weights_of("unet")
    expected = [key for key in weights if not key.endswith("num_batches_tracked")]
    del weights["model.model.3.bias"]
    weights["model.model.9.weight"] = np.zeros(3)
    weights["model.model.1.model.2.bias"] = np.zeros((4, 1))
    with pytest.raises(UserError) as caught:
        layout.from_torch(weights, UNET, "x.pth")
    assert str(caught.value) == (
        "x.pth: does not fit a unet of features 1, num_downs 5, norm batch, bias auto: missing: model.model.3.bias; "
        "unexpected: model.model.9.weight; of another shape: model.model.1.model.2.bias (4, 1) instead of (2,); "
        "check which file it is"
    )
    with pytest.raises(UserError, match=rf"missing: {expected[0]}, .*{expected[7]}, and {len(expected) - 8} more;"):
        layout.from_torch({}, UNET, "x.pth")


def test_counters_are_optional_and_float64_is_converted():
    weights = {key: array.astype(np.float64) * 1e300 for key, array in weights_of("pixel").items()}
    weights = {key: array for key, array in weights.items() if not key.endswith("num_batches_tracked")}
    variables = layout.from_torch(weights, FILES["pixel"], "x.pth")
    assert {array.dtype for array in jax.tree.leaves(variables)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", ["unet", "resnet", "patchgan", "pixel"])
@pytest.mark.parametrize("change", ["drop", "rename", "reshape"])
def test_one_wrong_key_is_refused(name, change):
    weights, architecture = weights_of(name), FILES[name]
    for key in [key for key in weights if not key.endswith("num_batches_tracked")]:
        changed = dict(weights)
        array = changed.pop(key)
        if change != "drop":
            changed[key + "_" * (change == "rename")] = array[None] if change == "reshape" else array
        try:
            found = infer(changed, architecture)
            layout.from_torch(changed, found, "x.pth")
        except UserError:
            continue
        # a network without its last bias, or a discriminator without its first, is one of other biases
        assert change == "drop" and key.endswith(".bias") and found.bias in ("last", "never")


def test_variables_of_other_networks_cannot_be_written():
    variables = layout.from_torch(weights_of("unet"), UNET, "w.pth")
    flat = traverse_util.flatten_dict(variables, sep="/")
    for changed, key in (
        (flat | {"params/down4_norm/scale": np.ones(8)}, "params/down4_norm/scale"),
        ({k: v for k, v in flat.items() if k != "params/up0/bias"}, "params/up0/bias"),
        (flat | {"params/up0/bias": np.ones(4)}, "params/up0/bias"),
    ):
        with pytest.raises(UserError, match=f"not a unet of .* differing in {key}; it can only"):
            layout.to_torch(traverse_util.unflatten_dict(changed, sep="/"), UNET)
