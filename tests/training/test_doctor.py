"""`pix2pix doctor` on this machine, and with settings that are broken: every fault is found, and says what to do."""

import socket

import pytest

from pix2pix_jax.training import doctor
from pix2pix_jax.workdir import lock


def lines(found):
    return [str(finding) for finding in found]


def test_this_machine_has_no_fault(run, tmp_path):
    code, out, errors = run("doctor", f"--workdir={tmp_path / 'new' / 'run'}")
    assert code == 0, out + errors
    for start in ("versions: Python", "devices: 8 x cpu", "memory:", "compile cache:", "workdir:"):
        assert f"  {start}" in out, start
    assert list(tmp_path.iterdir()) == []  # it leaves nothing behind


@pytest.mark.parametrize(
    "name, value, found",
    [
        ("JAX_PLATFORMS", "cuda", r"check JAX_PLATFORMS=cuda"),
        ("XLA_FLAGS", "--xla_no_such_flag=1", "xla_no_such_flag"),
    ],
)
def test_devices_that_do_not_start(name, value, found, monkeypatch):
    monkeypatch.setenv(name, value)
    finding = doctor.ask_devices()
    assert isinstance(finding, doctor.Finding) and finding.level == "fault"
    assert found in finding.text and "\n" not in finding.text


def test_devices_that_do_not_answer():
    assert "no answer in 0 s" in doctor.ask_devices(patience=0.01).text


@pytest.mark.parametrize(
    "driver, plugin, uses_gpu, expected",
    [
        ("", "jax-cuda13-plugin", True, "fault  driver: there is a GPU, but NVIDIA's driver is not loaded"),
        ("580.65.06", "", False, "pip install '.[cuda13]'"),
        ("550.54", "", False, "pip install '.[cuda12]'"),
        ("550.54", "jax-cuda13-plugin", False, "or pip uninstall it and pip install '.[cuda12]'"),
        ("470.1", "jax-cuda12-plugin", False, "needs 525 or newer; update it"),
        ("580.65.06", "jax-cuda13-plugin", False, "note   driver: 580.65.06 and jax-cuda13-plugin are there"),
        ("580.65.06", "jax-cuda12-plugin", True, "ok     driver: 580.65.06, CUDA 12"),
    ],
)  # fmt: skip
def test_drivers(driver, plugin, uses_gpu, expected):
    (line,) = lines(doctor.driver_findings(driver, uses_gpu=uses_gpu, plugin=plugin))
    assert expected in line


def test_versions_that_do_not_go_together():
    assert lines(doctor.compare_versions("0.10.2", "0.10.1", {"jax-cuda13-plugin": None})) == []
    (line,) = lines(doctor.compare_versions("0.10.2", "0.9.0", {}))
    assert line.startswith("fault") and "pip install -U 'jax==0.10.2' 'jaxlib==0.10.2'" in line
    plugins = {"jax-cuda12-plugin": "0.10.2", "jax-cuda13-plugin": "0.10.2"}
    assert "pip uninstall one" in lines(doctor.compare_versions("0.10.2", "0.10.2", plugins))[0]


def peers(monkeypatch, address, index, count=2):
    settings = {"COORDINATOR_ADDRESS": address, "NUM_PROCESSES": count, "PROCESS_ID": index}
    for name, value in settings.items():
        monkeypatch.setenv(f"JAX_{name}", str(value))
    (line,) = lines(doctor._peers())
    return line


def test_peers(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert peers(monkeypatch, f"127.0.0.1:{port}", 1).startswith("ok")
        assert "the port is taken" in peers(monkeypatch, f"127.0.0.1:{port}", 0)
    assert peers(monkeypatch, f"127.0.0.1:{port}", 0).startswith("ok")
    assert "start process 0" in peers(monkeypatch, f"127.0.0.1:{port}", 1)
    assert "no such host as nowhere.invalid" in peers(monkeypatch, "nowhere.invalid:1", 1)
    assert "must be HOST:PORT" in peers(monkeypatch, "127.0.0.1", 1)
    assert "all three are needed" in peers(monkeypatch, "127.0.0.1:1", 7)


def test_folders_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    (line,) = lines(doctor._workdir(tmp_path / "file"))
    assert line.startswith("fault  workdir:") and "choose another --workdir" in line
    (line,) = lines(doctor._workdir("s3://bucket/run"))
    assert line.startswith("fault  workdir:")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file" / "xla"))
    (line,) = lines(doctor._compile_cache())
    assert line.startswith("note   compile cache:") and "JAX_COMPILATION_CACHE_DIR" in line


def test_a_workdir_in_use(tmp_path):
    with lock.hold(tmp_path / "run"):
        (line,) = lines(doctor._workdir(tmp_path / "run"))
    assert line.startswith("fault  workdir:")


def test_a_fault_ends_in_exit_code_2_and_all_is_checked(run, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_DEVICES_PROGRAM", "raise SystemExit('broken')")
    code, out, _ = run("doctor", f"--workdir={tmp_path}")
    assert code == 2 and "broken" in out and "workdir:" in out
