"""Weights of pytorch-CycleGAN-and-pix2pix in our networks, against its outputs (tests/golden/make_popular.py)."""

import importlib.util
import pathlib

import jax
import numpy as np
import pytest
from flax import traverse_util

from pix2pix_jax.errors import UserError
from pix2pix_jax.interop import layout
from pix2pix_jax.interop.architectures import DiscriminatorArchitecture, GeneratorArchitecture
from pix2pix_jax.io import pth
from pix2pix_jax.models.patchgan import PatchDiscriminator
from pix2pix_jax.models.resnet import ResNetGenerator
from pix2pix_jax.models.unet import UNetGenerator

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "popular"
UNET = GeneratorArchitecture(
    name="unet", features=1, norm="batch", bias="auto", input_channels=3, target_channels=3, num_downs=5
)
RESNET = GeneratorArchitecture(
    name="resnet",
    features=2,
    norm="instance",
    bias="auto",
    input_channels=3,
    target_channels=3,
    num_blocks=2,
    dropout=True,
)
PATCHGAN = DiscriminatorArchitecture(num_layers=3, features=2, norm="batch", bias="auto", channels=6)


def like(architecture, **changes):
    return type(architecture)(**(vars(architecture) | changes))


FILES = {
    "unet": UNET,
    "unet_legacy": like(UNET, input_channels=1, target_channels=2),
    "resnet": like(RESNET, features=1, norm="batch", input_channels=2, target_channels=1, num_blocks=3, dropout=False),
    "resnet_dropout": RESNET,
    "patchgan": PATCHGAN,
    "patchgan_old": like(PATCHGAN, num_layers=1, norm="instance", channels=3),
    "pixel": like(PATCHGAN, num_layers=0),
    "pixel_none": like(PATCHGAN, num_layers=0, norm="none", channels=4),
}


def weights_of(name: str) -> dict[str, np.ndarray]:
    return layout.clean(pth.read(GOLDEN / f"{name}.pth"))


def infer(weights, architecture):
    is_generator = isinstance(architecture, GeneratorArchitecture)
    return (layout.infer_generator if is_generator else layout.infer_discriminator)(weights, "w.pth")


def network(architecture):
    """Our network, and the arguments besides images that it needs."""
    a = architecture
    common = {"features": a.features, "norm": a.norm, "bias": a.bias}
    if isinstance(a, DiscriminatorArchitecture):
        return PatchDiscriminator(num_layers=a.num_layers, **common), {}
    common |= {"out_channels": a.target_channels, "dropout": 0.0 if a.dropout is False else 0.5}
    if a.name == "unet":
        return UNetGenerator(num_downs=a.num_downs, skips=a.skips, **common), {"deterministic": True}
    return ResNetGenerator(num_blocks=a.num_blocks, **common), {"deterministic": True}


def images_for(architecture, image: np.ndarray) -> tuple[np.ndarray, ...]:
    is_generator = isinstance(architecture, GeneratorArchitecture)
    return (image,) if is_generator else (image[..., :1], image[..., 1:])


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
    *(like(UNET, num_downs=n, skips=skips) for n, skips in [(2, True), (2, False), (3, False), (8, True)]),
    *(like(RESNET, norm="batch", bias=bias, dropout=False) for bias in ("auto", "always", "never")),
    *(like(RESNET, norm=norm, num_blocks=9) for norm in ("batch", "none")),
]
DISCRIMINATORS = [
    *(like(PATCHGAN, num_layers=n) for n in (1, 2, 4, 5)),
    *(like(PATCHGAN, num_layers=n, norm=norm) for n in (0, 2) for norm in ("instance", "none")),
    *(like(PATCHGAN, num_layers=n, bias=bias) for n in (0, 2) for bias in ("always", "last", "never")),
    *(like(PATCHGAN, num_layers=n, bias=bias, norm="none") for n in (0, 2) for bias in ("last", "never")),
]


@pytest.mark.parametrize("architecture", [*GENERATORS, *DISCRIMINATORS], ids=str)
def test_every_variant_of_our_networks_survives_the_way_there_and_back(architecture):
    model, options = network(architecture)
    channels = getattr(architecture, "channels", None) or architecture.input_channels
    side = 2 ** (architecture.num_downs or 2) if isinstance(architecture, GeneratorArchitecture) else 128
    images = images_for(architecture, np.zeros((2, side, side, channels), np.float32))
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
    if isinstance(FILES[name], GeneratorArchitecture):
        with pytest.raises(UserError, match=r"^x.pth: holds a generator, not a discriminator; give .*net_D"):
            layout.infer_discriminator(weights_of(name), "x.pth")
    else:
        with pytest.raises(UserError, match=r"^x.pth: holds a discriminator, not a generator; give .*net_G"):
            layout.infer_generator(weights_of(name), "x.pth")


@pytest.mark.parametrize("infer", [layout.infer_generator, layout.infer_discriminator])
def test_other_networks(infer):
    kernel = np.zeros((4, 3, 4, 4))
    resnet18 = {"conv1.weight": kernel, "layer1\n\x1b.weight": kernel} | {f"fc{n}.bias": kernel for n in range(20)}
    with pytest.raises(UserError, match=r"^x.pth: holds neither a gen.*, but conv1.weight, .*, and 14 more;") as caught:
        infer(resnet18, "x.pth")
    assert str(caught.value).isprintable()
    with pytest.raises(UserError, match="neither"):
        infer({}, "x.pth")


@pytest.mark.parametrize(
    ("infer", "weights"),
    [
        (layout.infer_generator, {"model.model.0.bias": np.zeros(3)}),
        (layout.infer_generator, {"model.model.0.weight": np.zeros((2, 3, 4, 4))}),
        (layout.infer_generator, {"model.1.weight": np.zeros((2, 3, 7))}),
        (layout.infer_generator, {"model.1.weight": np.zeros((2, 3, 7, 7)), "model.17.weight": np.zeros((0, 2, 7, 7))}),
        (layout.infer_discriminator, {"model.0.weight": np.zeros(())}),
        (layout.infer_discriminator, {"net.0.weight": np.zeros((2, 0, 1, 1))}),
    ],
)
def test_kernels_that_are_none(infer, weights):
    with pytest.raises(UserError, match=r"^x.pth: not a network of .*weight is no kernel"):
        infer(weights, "x.pth")


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
