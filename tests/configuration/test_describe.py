"""Configs and fields in words: `pix2pix configs` and `pix2pix configs NAME`."""

import pytest
from command_line import assert_refused
from pix2pix_jax.configs import default

from pix2pix_jax import configuration
from pix2pix_jax.configuration import describe

FIELDS = configuration.flatten(default.get_config())


def test_every_field_has_a_meaning_and_a_heading():
    fields = describe.fields()
    assert FIELDS.keys() <= fields.keys()
    assert all(field.meaning and field.heading for field in fields.values())
    assert set(fields) - set(FIELDS) == {"augment"}  # a group whose comment is about all of its fields


def test_a_meaning_is_the_whole_comment_and_nothing_of_the_next_field():
    fields = describe.fields()
    assert fields["batch_size"].meaning == "examples in a step, over all devices"
    assert fields["batch_size"].heading.startswith("Length.")
    assert fields["dataset"].meaning.endswith("by a program that calls pix2pix_jax.train)")  # from its second line
    assert fields["augment.scale"].meaning == "both images zoomed by a factor from 1 - scale to 1 + scale"


def test_configs_lists_every_config_in_a_line_of_the_terminal(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    code, out, _ = run("configs")
    listed = out.splitlines()
    assert code == 0 and [line.split()[0] for line in listed] == configuration.names()
    assert all(30 < len(line) <= 90 for line in listed)
    assert any(line.split(maxsplit=1) == ["ablations/l1", "L1 alone: no discriminator is trained"] for line in listed)


def test_configs_name_prints_every_field_with_value_and_meaning(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run("configs", "facades")
    lines = out.splitlines()
    assert code == 0 and lines[0].startswith("Facades, labels -> photo")
    assert all(len(line) <= 80 for line in out.partition("# Recipe.")[2].splitlines())
    assert [x.split()[0].removeprefix("config.") for x in lines if x.startswith("config.")] == list(describe.fields())
    place = lines.index("config.direction = BtoA  (default: AtoB)")
    assert lines[place + 1] == "    AtoB translates A, the left half, into B; BtoA the reverse"
    assert "config.image_size = 256,256" in lines and "config.num_steps = unset" in lines


def test_a_printed_value_can_be_given_back(run):
    lines = [line for line in run("configs", "default")[1].splitlines() if line.startswith("config.")]
    printed = dict(line.removeprefix("config.").split(" = ") for line in lines if " = " in line)
    values = [f"--config.{name}={value}" for name, value in printed.items() if value not in ("unset", '""')]
    assert configuration.flatten(configuration.load("default", values)) == FIELDS


def test_a_config_file_and_its_argument(run, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        '"""Mine. Not more."""\nfrom pix2pix_jax.configs import default\n\ndef get_config(steps):\n'
        "    config = default.get_config()\n    config.num_steps = int(steps)\n    return config\n"
    )
    code, out, _ = run("configs", f"{file}:7")
    assert code == 0 and "Mine. Not more." in out and "config.num_steps = 7  (default: unset)" in out
    assert_refused(run("configs", f"{file}"), "get_config(steps) needs an argument")


@pytest.mark.parametrize("name", ["facads", "no/such.py"])
def test_no_such_config(run, name):
    assert_refused(run("configs", name), name, "no such")
