"""ONNX files by ONNX Runtime, beside the models that they were made of."""

import dataclasses
import json

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from pix2pix_jax.configuration import build_model
from pix2pix_jax.errors import UserError
from pix2pix_jax.export import onnx_file
from pix2pix_jax.export.onnx_file import OnnxOptions
from pix2pix_jax.inference import trained_model
from pix2pix_jax.interop import layout
from pix2pix_jax.models import ResNetGenerator, UNetGenerator

RESNET = ("--config.generator.name=resnet", "--config.generator.num_blocks=2")


def fields(group: str, **values) -> tuple[str, ...]:
    return tuple(f"--config.{group}{name}={value}" for name, value in values.items())


def generator(**values) -> tuple[str, ...]:
    return fields("generator.", **values)


def run(content: bytes, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})[0]


def run_floats(content: bytes, images: np.ndarray) -> np.ndarray:
    """Takes and returns (N, H, W, C), where the file has (N, C, H, W)."""
    return run(content, np.ascontiguousarray(images.transpose(0, 3, 1, 2))).transpose(0, 2, 3, 1)


def translate(model, images: np.ndarray) -> np.ndarray:
    step = trained_model.make_translate(model.config, platform="cpu")
    return np.asarray(jax.jit(step)(model.variables, images, np.zeros(len(images), np.uint32), 0))


MODELS = {
    "default": (),
    "running": fields("inference.", norm_stats="running"),
    "batch": fields("inference.", norm_stats="batch"),
    "instance": generator(norm="instance"),
    "group": (*generator(norm="group", features=12), *fields("inference.", norm_stats="running")),
    "none": generator(norm="none", bias="never", slope=0),
    "biases": (*generator(bias="always"), *fields("inference.", norm_stats="running")),
    "no biases": (*generator(bias="never"), *fields("inference.", norm_stats="running")),
    "no skips": generator(skips=False, bias="last", slope=0.3),
    "before_concat": (*generator(decoder_activation="before_concat"), *fields("", norm_epsilon=1e-3)),
    "bottleneck_norm": generator(bottleneck_norm=True, num_downs=2),
    "channels": fields("", input_channels=5, target_channels=1),
    "one pixel deep": generator(num_downs=0, features=1),
    "lab": fields("", color_space="lab"),
    "resnet": (*RESNET, *generator(norm="instance")),
    "resnet running": (*RESNET, *fields("inference.", norm_stats="running"), *fields("", input_channels=2)),
    "resnet batch": (*RESNET, *fields("inference.", norm_stats="batch"), *generator(bias="never", dropout=0)),
    "resnet group": (*RESNET, *generator(norm="group")),
    "resnet none": (*RESNET, *generator(norm="none", bias="always")),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_file_answers_as_its_model(name, random_model, floats):
    model = random_model(*MODELS[name])
    images = floats(2, 32, 64, model.config.input_channels)
    wanted = translate(model, images)
    np.testing.assert_allclose(run_floats(onnx_file.serialise(model), images), wanted, atol=1e-4)
    assert wanted.std() > 0.05 and np.abs(wanted).mean() < 0.99  # neither flat nor saturated: errors would show


def test_the_norm_of_a_single_pixel_leaves_nothing_of_it(random_model, floats):
    """As TensorFlow's tutorial has it; rounding, divided by the root of epsilon, would show."""
    model = random_model(*generator(bottleneck_norm=True))
    kernel = model.variables["params"]["down2"]["kernel"]
    kernel *= 1000
    images = floats(2, 8, 8, 3)
    found = run_floats(onnx_file.serialise(model), images)
    np.testing.assert_allclose(found, translate(model, images), atol=1e-4)


def test_no_field_of_a_generator_is_unknown_to_the_graphs():
    """A new field fails here: write it in export/onnx_networks.py, and a model with it above."""
    own = {"parent", "name", "dtype", "norm_momentum", "norm_scale_std", "bias", "features", "out_channels"}
    own |= {"norm", "norm_epsilon", "slope", "dropout"}
    unet = {"num_downs", "skips", "dropout_layers", "bottleneck_norm", "decoder_activation"}
    assert {f.name for f in dataclasses.fields(UNetGenerator)} == own | unet
    assert {f.name for f in dataclasses.fields(ResNetGenerator)} == own | {"num_blocks"}


@pytest.mark.parametrize("overrides", [(), RESNET], ids=["unet", "resnet"])
def test_one_file_takes_all_sizes_and_batches(overrides, random_model, floats):
    model = random_model(*overrides)
    content = onnx_file.serialise(model)
    sizes = [(1, 32, 32), (3, 64, 16), (1, 12, 20) if overrides else (2, 40, 88)]
    for size in sizes:
        images = floats(*size, 3)
        np.testing.assert_allclose(run_floats(content, images), translate(model, images), atol=1e-4)
    shape = onnx.load_model_from_string(content).graph.input[0].type.tensor_type.shape
    assert [dim.dim_param or dim.dim_value for dim in shape.dim] == ["N", 3, "H", "W"]


def test_stored_values_go_in_and_out_as_translate_takes_them(random_model):
    model = random_model()
    content = onnx_file.serialise(model, OnnxOptions(values="uint8"))
    images = np.random.RandomState(0).randint(0, 256, (3, 32, 32, 3), np.uint8)
    found, wanted = run(content, images), model.translate(images)
    assert found.dtype == np.uint8 and found.shape == wanted.shape
    difference = np.abs(found.astype(int) - wanted)
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3  # where rounding falls the other way


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_other_stored_values(dtype, random_model):
    ranges = {"input_dtype": dtype, "input_range": "10,4000", "target_dtype": dtype, "target_range": "-3.5,900.25"}
    model = random_model(*fields("", **ranges))
    content = onnx_file.serialise(model, OnnxOptions(values="stored"))
    images = np.random.RandomState(0).uniform(0, 4095, (2, 32, 32, 3)).astype(dtype)  # some are beyond the range
    found, wanted = run(content, images), model.translate(images)
    assert found.dtype == wanted.dtype == dtype
    np.testing.assert_allclose(found.astype(float), wanted.astype(float), atol=1 if dtype == "uint16" else 0.05)
    with pytest.raises(UserError, match=f"--values=uint8: config.input_dtype is {dtype}; use --values=stored"):
        onnx_file.serialise(model, OnnxOptions(values="uint8"))


@pytest.mark.parametrize("overrides", [(), (*RESNET, "--config.color_space=lab")], ids=["unet", "resnet lab"])
@pytest.mark.parametrize(("precision", "share", "most"), [("float16", 0.53, 0.02), ("int8", 0.3, 0.1)])
def test_smaller_precisions(precision, share, most, overrides, random_model, floats):
    model, images = random_model(*overrides), floats(2, 32, 32, 3)
    whole = onnx_file.serialise(model)
    content = onnx_file.serialise(model, OnnxOptions(precision=precision))
    assert len(content) < share * len(whole) + 12_000  # the graph itself
    difference = np.abs(run_floats(content, images) - run_floats(whole, images))
    assert 0 < difference.mean() < most / 5 and np.quantile(difference, 0.99) < 2 * most


@pytest.mark.parametrize(("layer", "kind", "axis"), [("down1", "conv", 0), ("up1", "up", 1)])
def test_kernels_of_8_bits_are_as_near_as_each_channel_allows(layer, kind, axis, random_model):
    model = random_model()
    kernel = model.variables["params"][layer]["kernel"]
    kernel *= np.float32(10) ** -np.arange(kernel.shape[3])  # of each channel its own range
    content = onnx_file.serialise(model, OnnxOptions(precision="int8"))
    arrays = {a.name: numpy_helper.to_array(a) for a in onnx.load_model_from_string(content).graph.initializer}
    wanted = layout.to_theirs(kernel, kind)
    scale = np.expand_dims(arrays[f"{layer}/kernel_scale"], [i for i in range(4) if i != axis])
    assert arrays[f"{layer}/kernel"].dtype == np.int8
    assert (np.abs(arrays[f"{layer}/kernel"] * scale - wanted) <= scale * 0.501).all()
    np.testing.assert_allclose(scale.ravel(), np.abs(wanted).max((1 - axis, 2, 3)) / 127, rtol=1e-6)


def test_float16_of_every_norm(random_model, floats):
    images = floats(2, 32, 32, 3)
    for name in ("running", "batch", "group", "instance"):
        model = random_model(*MODELS[name])
        content = onnx_file.serialise(model, OnnxOptions(precision="float16"))
        np.testing.assert_allclose(run_floats(content, images), translate(model, images), atol=0.05)


def test_dropout_is_off_unless_asked_for(random_model, floats):
    model = random_model(*generator(dropout=0.25), *fields("inference.", dropout="on"))
    model.config.generator.dropout_layers = (1,)
    images = floats(1, 32, 32, 3)
    still = onnx_file.serialise(model)
    np.testing.assert_array_equal(run_floats(still, images), run_floats(still, images))
    content = onnx_file.serialise(model, OnnxOptions(dropout=True))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    feed = {"image": np.ascontiguousarray(images.transpose(0, 3, 1, 2))}
    first, second = (session.run(None, feed)[0] for _ in range(2))
    assert np.abs(first - second).mean() > 0.01
    noise = [n.name for n in onnx.load_model_from_string(content).graph.node if n.op_type == "RandomUniformLike"]
    assert noise == ["up2_norm/RandomUniformLike"]


def test_dropout_drops_what_the_model_drops(random_model, floats):
    """The mean of an output over many draws; the inverse of tanh makes it one of sums."""
    model = random_model(*RESNET, *generator(dropout=0.75, num_blocks=1, norm="none"))
    images = floats(1, 16, 16, 3)
    content = onnx_file.serialise(model, OnnxOptions(dropout=True))
    drawn = np.arctanh(run_floats(content, images.repeat(600, axis=0)).astype(np.float64).clip(-1 + 1e-7, 1 - 1e-7))
    model.config.inference.dropout = "on"
    step = jax.jit(trained_model.make_translate(model.config, platform="cpu"))
    ours = step(model.variables, images.repeat(600, axis=0), np.arange(600, dtype=np.uint32), 0)
    ours = np.arctanh(np.asarray(ours, np.float64).clip(-1 + 1e-7, 1 - 1e-7))
    error = ours.std(0) / np.sqrt(300)  # of the difference of two means of 600
    assert (np.abs(drawn.mean(0) - ours.mean(0)) < 6 * error).all()
    np.testing.assert_allclose(drawn.std(0).mean(), ours.std(0).mean(), rtol=0.05)


def test_a_file_says_what_it_is(random_model):
    model = random_model("--config.data_dir=/home/me/private", "--config.palette=/home/me/palette.json")
    content = onnx_file.serialise(model, OnnxOptions(values="uint8", dropout=True))
    made = onnx.load_model_from_string(content)
    about = {entry.key: entry.value for entry in made.metadata_props}
    assert json.loads(about["config"])["generator"]["features"] == 8 and b"/home/me" not in content
    assert (about["step"], about["size_multiple"], about["image_size"]) == ("3", "8", "[32, 32]")
    assert (about["values"], about["input_range"], about["output_range"]) == ("uint8", "[0.0, 255.0]", "[0.0, 255.0]")
    assert (about["dropout"], about["norm_stats"], about["precision"]) == ("on", "instance", "float32")
    assert "licence" in about["licence"] and made.producer_name == "pix2pix_jax"
    assert content == onnx_file.serialise(model, OnnxOptions(values="uint8", dropout=True))  # byte for byte


def test_what_onnx_cannot_hold_is_refused(random_model):
    config = random_model(*generator(num_downs=4)).config
    config.generator.features = 1024
    model = trained_model.TrainedModel(config=config, variables=build_model.abstract_variables(config), step=1)
    with pytest.raises(UserError, match="parameters in float32 are more than the 2 GiB of an ONNX file; use --prec"):
        onnx_file.serialise(model)
