"""Configs: what loads, what is refused and with which words, and the way to JSON and back."""

import functools
import json
import pathlib
import re

import pytest

from pix2pix_jax import configuration as config_lib
from pix2pix_jax.configuration import build_data
from pix2pix_jax.errors import UserError

CONFIGS = config_lib.names()
FIELDS = config_lib.flatten(config_lib.load("default"))


def refusal(*overrides, spec="default"):
    """The message, one line, with which a config is refused."""
    with pytest.raises(UserError) as caught:
        config_lib.load(spec, overrides)
    return str(caught.value)


def write_config(path, body):
    path.write_text(
        "from pix2pix_jax.configs import default\n\n\ndef get_config():\n    config = default.get_config()\n" + body
    )
    return str(path)


def test_there_are_configs():
    files = (pathlib.Path(__file__).parents[2] / "configs").rglob("*.py")
    assert len(CONFIGS) == len([f for f in files if f.stem[0] != "_"])
    assert {"default", "drawn_facades", "facades", "folder", "ablations/l1"} <= set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_loads_and_checks(name):
    config = config_lib.load(name)
    assert config_lib.flatten(config).keys() == config_lib.flatten(config_lib.load("default")).keys()
    with pytest.raises(AttributeError):
        config.no_such_field = 1


def test_overrides_take_effect():
    config = config_lib.load(
        "facades",
        ["--config.image_size=64,128", "--config.num_steps=7", "--config.generator.dropout=0", "--noconfig.mirror"],
    )
    assert (config.dataset, config.image_size, config.num_steps) == ("facades", (64, 128), 7)
    assert config.generator.dropout == 0.0 and config.mirror is False


def test_names_and_ranges():
    config = config_lib.load(
        "folder", ["--config.a_folders=rgb,depth", "--config.b_folders=1,2", "--config.input_range=-0.5,3"]
    )
    assert (config.a_folders, config.b_folders, config.input_range) == (("rgb", "depth"), ("1", "2"), (-0.5, 3))
    assert config_lib.from_dict(config_lib.to_dict(config)).input_range == (-0.5, 3)
    assert config_lib.load("folder", ["--config.a_folders=rgb"]).a_folders == ("rgb",)


def test_the_last_override_of_a_field_wins():
    config = config_lib.load("default", ["--config.image_size=64,64", "--config.seed=1", "--config.image_size=32,128"])
    assert (config.image_size, config.seed) == ((32, 128), 1)


def test_a_file_loads_as_a_name_does(tmp_path):
    path = write_config(tmp_path / "mine.py", "    config.batch_size = 3\n    return config\n")
    config = config_lib.load(path, ["--config.seed=5"])
    assert (config.batch_size, config.seed) == (3, 5)
    assert config_lib.load("default").batch_size == 1


def test_a_file_is_called_with_its_argument(tmp_path):
    path = tmp_path / "sized.py"
    body = "    config = default.get_config()\n    config.seed = int(seed)\n    return config\n"
    path.write_text("from pix2pix_jax.configs import default\n\ndef get_config(seed='1'):\n" + body)
    assert config_lib.load(f"{path}:23").seed == 23 and config_lib.load(str(path)).seed == 1
    assert config_lib.load(f"{path}:23", ["--config.seed=4"]).seed == 4
    assert "line 5: ValueError: invalid literal" in refusal(spec=f"{path}:x")


def test_an_argument_that_is_not_taken(tmp_path):
    path = write_config(tmp_path / "plain.py", "    return config\n")
    assert refusal(spec=f"{path}:3") == f"--config={path}:3: its get_config() takes no argument; leave :3 off"
    assert "leave :3 off" in refusal(spec="facades:3")
    (tmp_path / "sized.py").write_text("def get_config(size):\n    return size\n")
    assert "get_config(size) needs an argument" in refusal(spec=str(tmp_path / "sized.py"))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("    config.batchsize = 3\n    return config\n", "no field batchsize; did you mean config.batch_size?"),
        (
            "    config.generator.featurs = 3\n    return config\n",
            "no field featurs; did you mean config.discriminator.",
        ),
        ("    config.update({'seeed': 3})\n    return config\n", "no field seeed; did you mean config.seed?"),
        ("    config.batch_size = '3'\n    return config\n", "batch_size"),
        ("    raise ValueError('own words')\n", "ValueError: own words"),
        ("    return (\n", "SyntaxError"),
        ("    pass\n", "must return a ConfigDict"),
    ],
)
def test_a_broken_file_is_named(tmp_path, body, reason):
    path = write_config(tmp_path / "broken.py", body)
    message = refusal(spec=path)
    assert path in message and reason in message and len(message) < 300
    assert "\n" not in message and "Traceback" not in message


def test_a_config_that_does_not_exist():
    assert refusal(spec="facade") == "--config=facade: no such config; did you mean facades?"
    assert "did you mean maps_aerial2map or maps_map2aerial?" in refusal(spec="maps")
    assert "did you mean cityscapes_labels2photo or cityscapes_photo2labels?" in refusal(spec="cityscapes")
    assert "edges2shoes, facades, folder" in refusal(spec="zzz")
    assert "mine.py: no such file" in refusal(spec="mine.py")


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("batchsize=2", "batch_size"),
        ("generator.fetures=8", "generator.features"),
        ("generater.features=8", "generator.features or config.discriminator.features"),
        ("fetures=8", "discriminator.features or config.generator.features"),
        ("generator.batch_size=8", "batch_size"),
        ("discriminator.norm_layers=8", "discriminator.num_layers"),
        ("num_layers=2", "discriminator.num_layers"),
        ("inference.normstats=batch", "inference.norm_stats"),
    ],
)
def test_an_unknown_field_gets_the_nearest_full_name(given, nearest):
    field = given.split("=")[0]
    assert refusal(f"--config.{given}") == f"config.{field}: no such field; did you mean config.{nearest}?"


def test_a_field_near_to_none_gets_those_of_its_group():
    assert refusal("--config.mesh.xyz=1") == "config.mesh.xyz: no such field; config.mesh has data, rows"


def test_a_field_near_to_none():
    assert refusal("--config.qqqq=1") == "config.qqqq: no such field; `pix2pix configs default` lists the fields"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("batch_size=two", ("config.batch_size=two",)),
        ("batch_size=1.5", ("config.batch_size=1.5",)),
        ("batch_size=", ("config.batch_size",)),
        ("learning_rate=fast", ("config.learning_rate=fast",)),
        ("mirror=maybe", ("config.mirror=maybe",)),
        ("num_steps=x", ("config.num_steps=x",)),
        ("generator=unet", ("config.generator=unet",)),
        ("image_size=a,b", ("config.image_size", "(height, width)")),
        ("image_size=64", ("config.image_size", "(height, width)")),
        ("image_size=64,64,3", ("config.image_size", "(height, width)")),
        ("gan_loss=wgan", ("config.gan_loss: 'wgan'", "vanilla, lsgan, hinge, wgan-gp")),
        ("preset=torch", ("config.preset: 'torch'", "pytorch, torch2017, tf_tutorial")),
        ("generator.dropout_layers=0,1", ("config.generator.dropout_layers: (0, 1)", "1 to 7")),
        ("discriminator.padding=same", ("config.discriminator.padding: 'same'", "zero, reflect")),
        ("generator.bias=yes", ("config.generator.bias: 'yes'", "auto, always, last, never")),
        ("ema_decay=1", ("config.ema_decay: 1.0", "below 1")),
        ("inference.weights=ema", ("config.inference.weights: ema", "ema_decay is 0")),
        ("r1_weight=-1", ("config.r1_weight: -1.0", "at least 0")),
        ("input_dtype=int8", ("config.input_dtype: 'int8'", "auto, uint8, uint16, float32")),
        ("target_interpolation=cubic", ("config.target_interpolation: 'cubic'", "bicubic, bilinear, nearest, lanczos")),
        ("input_range=1", ("config.input_range", "(low, high)")),
        ("profile_steps=100", ("config.profile_steps: (100,)", "100,110")),
        ("profile_steps=0,5", ("config.profile_steps: (0, 5)", "first and the last")),
        ("profile_steps=110,100", ("config.profile_steps: (110, 100)", "first and the last")),
        ("profile_steps=1.5,3", ("config.profile_steps: (1.5, 3)", "first and the last")),
        ("profile_steps=1,1001", ("config.profile_steps: (1, 1001)", "at most 1000 steps")),
        ("input_range=5,1", ("config.input_range", "the lower first")),
        ("target_range=0,x", ("config.target_range", "two numbers")),
        ("a_folders=rgb,", ("config.a_folders", "names of folders")),
        ("direction=BtoC", ("config.direction", "AtoB, BtoA")),
        ("generator.norm=batchh", ("config.generator.norm", "batch, instance")),
        ("discriminator.num_layers=6", ("config.discriminator.num_layers: 6", "0, 1, 2, 3, 4, 5")),
        ("inference.norm_stats=mean", ("config.inference.norm_stats", "running")),
        ("input_channels=0", ("config.input_channels: 0", "at least 1")),
        ("batch_size=0", ("config.batch_size: 0", "at least 1")),
        ("learning_rate=-1", ("config.learning_rate: -1.0", "at least 0")),
        ("learning_rate=nan", ("config.learning_rate: nan",)),
        ("b1=1", ("config.b1: 1.0", "below 1")),
        ("b2=-0.5", ("config.b2: -0.5", "at least 0")),
        ("generator.dropout=1", ("config.generator.dropout", "below 1")),
        ("num_steps=0", ("config.num_steps: 0", "at least 1")),
        ("seed=-1", ("config.seed: -1", "at least 0")),
        ("learning_rate=inf", ("config.learning_rate: inf", "finite")),
        ("l1_weight=1e400", ("config.l1_weight: inf", "finite")),
        ("input_range=0,1e400", ("config.input_range: inf", "finite")),
        ("input_range=0," + "9" * 400, ("config.input_range: 9", "finite")),
        ("batch_size=" + "9" * 30, ("config.batch_size: 9", "at most 2147483647")),
        ("image_size=64," + "9" * 30, ("config.image_size: 9", "at most 2147483647")),
        ("accumulate_steps=2147483647", ("config.accumulate_steps: 2147483647", "1; 1 would fit")),
        ("eps=0", ("config.eps: 0.0", "above 0, as 1e-08")),
        ("norm_epsilon=-1", ("config.norm_epsilon: -1.0", "above 0, as 1e-05")),
        ("num_workers=257", ("config.num_workers: 257", "at most 256")),
        ("generator.num_blocks=65", ("config.generator.num_blocks: 65", "at most 64")),
        ("image_size=True,64", ("config.image_size: (True, 64)", "(height, width)")),
        ("seed=4294967296", ("config.seed: 4294967296", "at most 2147483647")),
        ("generator.num_downs=1", ("config.generator.num_downs: 1", "from 2 to 10")),
    ],
)
def test_a_bad_value_is_named_with_what_would_do(override, words):
    message = refusal(f"--config.{override}")
    assert all(word in message for word in words), message
    assert "\n" not in message


@pytest.mark.parametrize("name", [name for name, value in FIELDS.items() if isinstance(value, float)])
def test_no_number_may_be_other_than_finite(name):
    assert refusal(f"--config.{name}=nan") == f"config.{name}: nan; must be a finite number"


STRANGE = ("", "x", "1,a", "(1,a)", "f(1)", "{}", "lambda: 0", "(", "1 2", "nan", "None", "b''", "9" * 400, "[1")


@pytest.mark.parametrize("name", ["image_size", "input_range", "num_steps", "batch_size", "eps", "mirror", "generator"])
def test_strange_values_are_refused_in_plain_words(name):
    """For each type of field; no words of the parser below."""
    for value in STRANGE:
        message = refusal(f"--config.{name}={value}")
        assert f"config.{name}" in message and not re.search(r"[<>]|object|ast|Error|boolean|line \d", message), message


@pytest.mark.parametrize(
    "flag",
    ["image_size[x]=3", "image_size[0]=3", "seed[0]=1", "image_size[0:1]=1", "image_size[=", "augment[hue]=1", "x y=1"],
)
def test_a_field_is_a_name(flag):
    assert refusal(f"--config.{flag}").startswith(f"--config.{flag}: not a flag; overrides are written")


@pytest.mark.parametrize("flag", ["--flagfile=x", "--undefok=seed", "--helpfull", "--noconfig.batch_size"])
def test_flags_of_the_parser_below_are_not_ours(flag):
    assert "<" not in refusal(flag) and flag.lstrip("-") in refusal(flag)


def test_a_value_may_follow_its_flag():
    assert config_lib.load("default", ["--config.seed", "5", "--config.mesh.data", "-1"]).seed == 5


def test_a_size_that_the_unet_cannot_take():
    message = refusal("--config.image_size=100,100")
    assert "config.image_size" in message and "100x100" in message
    fitting = [64, 128]
    assert f"{fitting[0]} or {fitting[1]}" in message
    for size in fitting:  # the advice is good
        config_lib.load("default", [f"--config.image_size={size},{size}"])
    # The other advice is good too.
    config = config_lib.load("default", ["--config.image_size=96,160", "--config.generator.num_downs=5"])
    assert build_data.num_downs(config) == 5


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("gan_loss=hinge", "label_smoothing=0.1"), ("config.label_smoothing", "hinge has no labels")),
        (("gan_weight=0", "feature_weight=10"), ("config.feature_weight", "gan_weight 0")),
        (("diff_augment=color,blur",), ("config.diff_augment", "'blur'", "color, translation, cutout")),
        (("gan_weight=0", "l1_weight=0"), ("config.gan_weight", "all losses of the generator weigh 0")),
        (("color_space=lab", "input_channels=1"), ("config.input_channels", "3 and 3")),
        (("color_space=lab", "input_dtype=uint16"), ("config.input_dtype", "the same")),
        (("generator.name=resnet", "image_size=66,64"), ("config.image_size: 66x64", "multiples of 4")),
        (("discriminator.num_scales=4", "image_size=32,32"), ("num_scales: 4", "32x32")),
        (("batch_size=6", "accumulate_steps=4"), ("config.accumulate_steps: 4 parts", "6; 1, 2, 3 would fit")),
        (
            ("generator.name=resnet", "image_size=36,64", "mesh.rows=8"),
            ("config.mesh.rows: height 36", "; 1, 2, 3, 4, 6"),
        ),
    ],
)
def test_values_that_do_not_go_together(overrides, words):
    message = refusal(*(f"--config.{override}" for override in overrides))
    assert all(word in message for word in words), message


def test_the_resnet_takes_sizes_that_the_unet_does_not():
    config_lib.load("default", ["--config.generator.name=resnet", "--config.image_size=100,60"])


def test_resizing_to_less_than_the_crop():
    message = refusal("--config.image_size=64,64", "--config.resize_size=64,32")
    assert "config.resize_size" in message and "64x32" in message and "64x64" in message


def test_too_many_discriminator_layers():
    message = refusal("--config.image_size=32,32", "--config.discriminator.num_layers=5")
    assert "config.discriminator.num_layers: 5" in message and "32x32" in message


def test_what_is_not_an_override():
    assert "--foo=1" in refusal("--foo=1") or "'foo'" in refusal("--foo=1")
    assert "foo: not a flag" in refusal("foo")


@pytest.mark.parametrize("name", CONFIGS)
def test_round_trip_through_json(name):
    config = config_lib.load(
        name, ["--config.image_size=96,192", "--config.resize_size=96,192", "--config.generator.num_downs=5"]
    )
    back = config_lib.from_dict(json.loads(json.dumps(config_lib.to_dict(config))))
    assert config_lib.flatten(back) == config_lib.flatten(config)
    assert back.image_size == (96, 192) and isinstance(back.image_size, tuple)
    assert config_lib.differences(config, back) == []


def test_round_trip_of_the_field_that_may_be_unset():
    unset = config_lib.from_dict(config_lib.to_dict(config_lib.load("default")))
    assert unset.num_steps is None
    unset.num_steps = 5  # it is still an int field
    assert config_lib.from_dict(config_lib.to_dict(unset)).num_steps == 5


def nested(depth):
    return functools.reduce(lambda inner, _: {"a": inner}, range(depth), {})


@pytest.mark.parametrize(
    "change",
    [
        *({"batch_size": value} for value in ("many", None, {}, {"a": 1}, [1], 10**30)),
        *({"generator": value} for value in (5, [], {"features": 10**30}, {"features": None})),
        *({"gan_loss": "wgan"}, {"image_size": None}, {"mesh": {"data": nested(500)}}, {"seed": "x" * 10**6}),
    ],
)
def test_a_value_that_is_none_of_its_field_s_is_refused(change):
    values = config_lib.to_dict(config_lib.load("default"))
    with pytest.raises(UserError) as error:
        config_lib.from_dict(values | change)
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


@pytest.mark.parametrize("values", [[], 5, None, "text"])
def test_what_is_no_config_at_all_is_refused(values):
    with pytest.raises(UserError, match="config of the checkpoint"):
        config_lib.from_dict(values)


def test_fields_of_another_version_are_left_out_by_name():
    """A run outlives the removal of a field; that of one that said nothing of its steps is no news."""
    values = config_lib.to_dict(config_lib.load("default"))
    old = values | {"on_divergence": "stop", "former": nested(500), "a.b": 1, "lock": 2}
    old["generator"] = values["generator"] | {"fetures": 1}
    assert config_lib.to_dict(config_lib.from_dict(old)) == values
    assert config_lib.unknown_fields(old) == ["a.b", "former", "generator.fetures", "lock"]
    assert config_lib.unknown_fields(values | {"on_divergence": "stop"}) == []


def test_differences_name_the_fields_that_make_another_run():
    old = config_lib.load("default")
    new = config_lib.load("default", ["--config.learning_rate=0.1", "--config.generator.features=8"])
    assert config_lib.differences(old, new) == [
        "config.generator.features: 64 -> 8",
        "config.learning_rate: 0.0002 -> 0.1",
    ]


def test_differences_ignore_what_may_change():
    old = config_lib.load("default")
    values = {
        **{
            "num_epochs": 900,
            "num_steps": 9,
            "data_dir": "elsewhere",
            "data_url": "https://x.y/z",
            "data_residency": "host",
            "num_samples": 1,
            "num_workers": 2,
        },
        **{"mesh.data": 2, "mesh.rows": 2, "shard_optimizer": True},
        **{"inference.norm_stats": "batch", "inference.dropout": "off"},
        **{"inference.weights": "latest", "preset": "pytorch"},
        **{"log_every_steps": 1, "sample_every_steps": 1, "checkpoint_every_steps": 1, "keep_checkpoints": 1},
        **{"log_to": "wandb", "profile_steps": "1,2", "allow_changed_data": True},
        **{"eval_every_steps": 1, "eval_metrics": "lpips,fid", "palette": "none", "best_metric": "fid"},
    }
    assert values.keys() == config_lib.MAY_CHANGE
    new = config_lib.load("default", [f"--config.{name}={value}" for name, value in values.items()])
    assert config_lib.differences(old, new) == []
