"""benchmarks/translate.py starts the real program."""

import pytest
import translate


@pytest.mark.heavy
def test_a_run_of_one_step_translates(tmp_path):
    sizes = ["--config.image_size=32,32", "--config.resize_size=36,36", "--config.discriminator.num_layers=1"]
    widths = ["--config.generator.features=8", "--config.discriminator.features=8"]
    workdir = translate.train("facades", [*sizes, *widths], tmp_path)
    picture = tmp_path / "drawn" / "val" / "000.jpg"
    flags = [f"--workdir={workdir}", f"--input={picture}", f"--output={tmp_path / 'out'}"]
    written = tmp_path / "out" / "000.png"
    assert translate.seconds(["-m", "pix2pix_jax", "translate", *flags], written) > 0
    assert written.is_file()


def test_a_program_that_writes_nothing_has_failed(tmp_path):
    output = tmp_path / "out.png"
    output.write_bytes(b"of an earlier turn")
    with pytest.raises(RuntimeError, match="exit code 0"):
        translate.seconds(["-c", "pass"], output)
    with pytest.raises(RuntimeError, match="exit code 1: .*no such name"):
        translate.seconds(["-c", "raise ValueError('no such name')"], None)
