"""docs/migration.md: each flag of pytorch-CycleGAN-and-pix2pix has a row, and what stands in the rows is true here."""

import pathlib
import re
import shlex

import pytest
from conftest import SHARED

from pix2pix_jax import configuration, flags

PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "migration.md").read_text()
FIELDS = configuration.flatten(configuration.load("default"))

_OTHERS = """
dataroot name checkpoints_dir input_nc output_nc ngf ndf n_layers_D init_gain no_dropout
direction serial_batches num_threads batch_size load_size crop_size max_dataset_size
no_flip display_winsize epoch load_iter verbose suffix use_wandb wandb_project_name
display_freq update_html_freq print_freq no_html save_latest_freq save_epoch_freq
save_by_iter continue_train epoch_count phase n_epochs n_epochs_decay beta1 lr pool_size
lr_decay_iters results_dir aspect_ratio eval num_test lambda_L1
"""
OPTIONS = {  # with the values of those that have a few
    **dict.fromkeys(_OTHERS.split()),
    "model": "cycle_gan pix2pix test colorization",
    "netD": "basic n_layers pixel",
    "netG": "resnet_9blocks resnet_6blocks unet_256 unet_128",
    "norm": "instance batch none syncbatch",
    "init_type": "normal xavier kaiming orthogonal",
    "dataset_mode": "unaligned aligned single colorization",
    "preprocess": "resize_and_crop crop scale_width scale_width_and_crop none",
    "gan_mode": "lsgan vanilla wgangp",
    "lr_policy": "linear step plateau cosine",
}

# The values that `--model pix2pix` has there, as a config here has them.
PIX2PIX = {
    **{"input_channels": 3, "target_channels": 3, "generator.features": 64, "discriminator.features": 64},
    **{"generator.name": "unet", "discriminator.num_layers": 3, "generator.norm": "batch", "generator.dropout": 0.5},
    **{"discriminator.norm": "batch", "direction": "AtoB", "batch_size": 1, "resize_size": (286, 286)},
    **{"image_size": (256, 256), "preprocess": "resize_and_crop", "mirror": True, "sample_every_steps": 400},
    **{"num_epochs": 200, "schedule": "linear", "learning_rate": 2e-4, "b1": 0.5, "gan_loss": "vanilla"},
    **{"l1_weight": 100.0, "schedule_drop_epochs": 50, "inference.norm_stats": "instance", "inference.dropout": "on"},
}


def rows() -> list[tuple[str, str, str]]:
    """Returns the cells of each row of the tables of flags: there, here, remark."""
    tables = PAGE.partition("\n## Flags\n")[2]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in tables.splitlines() if line.startswith("| `--")]
    return [tuple(cell.strip() for cell in row) for row in cells]


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def overrides(text: str) -> list[str]:
    """Returns the flags --config.FIELD=VALUE of a row's text."""
    return [word for span in spans(text) for word in shlex.split(span) if word.startswith("--config.")]


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_has_a_row_and_each_of_its_values_one(option):
    theirs = [span for there, _, _ in rows() for span in spans(there)]
    wanted = [f"--{option} {value}" for value in (OPTIONS[option] or "").split()]
    assert any(span.split()[0] == f"--{option}" for span in theirs)
    assert set(wanted) <= set(theirs)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0].strip("`"))
def test_a_row_is_true(row):
    there, here, remark = row
    assert here in ("default", "none") or overrides(here) == shlex.split(here.strip("`"))
    assert here != "none" or remark or there.startswith("`--init_type")
    configuration.load("default", overrides(here))
    for override in overrides(remark):
        configuration.load("default", [override])
    for span in spans(remark):
        name = re.fullmatch(r"config\.([\w.]+)", span)
        assert not name or name[1] in FIELDS, span


def test_the_defaults_are_those_of_pix2pix():
    assert {field: FIELDS[field] for field in PIX2PIX} == PIX2PIX


def commands() -> list[list[str]]:
    return [shlex.split(span) for span in spans(PAGE) if span.startswith("pix2pix ") and "--" in span]


@pytest.mark.parametrize("command", commands(), ids=lambda command: command[1])
def test_a_command_can_be_run(command):
    arguments, rest = flags.parser().parse_known_args(command[1:])
    if "config" in arguments:
        configuration.load(arguments.config, rest)
    else:
        assert not rest


def reference() -> dict[str, set[str]]:
    """Returns the options that the list in reference.md names, with the values of those that have some in brackets."""
    text = (SHARED / "reference.md").read_text()
    section = re.search(r"## Options of pytorch-CycleGAN-and-pix2pix.*?\n(.*?)\n\n", text, re.DOTALL)[1]
    lists, sets = section.split("What model=pix2pix sets: ")
    options = {}
    for option in re.split(r"[,.;]\s(?![^(]*\))", re.sub(r"\b(Base|Train|Test): ", "", lists)):
        if match := re.match(r"(\w+)[ =]?(\S+)?(?: \((.*)\))?", option):
            name, default, others = match.groups()
            values = {default, *others.split(", ")} if others and others != "required" else set()
            options[name] = options.get(name, set()) | values
    return options | {name: options.get(name, set()) for name in re.findall(r"(\w+) [\w.]+(?:,|\s|$)", sets)}


@pytest.mark.heavy
def test_the_options_are_those_of_the_reference():
    if not (SHARED / "reference.md").exists():
        pytest.skip("needs ../shared/reference.md")
    values = {option: set((words or "").split()) for option, words in OPTIONS.items()}
    named = reference()
    assert not named.pop("model")  # it names no values of this one
    assert named.pop("dataset") == set()  # so it calls dataset_mode among what pix2pix sets
    del values["model"]
    assert named == values
