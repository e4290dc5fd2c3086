"""The Python of README and docs/ runs as written, page by page, beside a trained run called runs/facades."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import pix2pix_jax

ROOT = pathlib.Path(__file__).parents[1]
PAGES = {str(page.relative_to(ROOT)): page.read_text() for page in (ROOT / "README.md", *ROOT.glob("docs/**/*.md"))}
PAGES = {name: text for name, text in PAGES.items() if "```python" in text}
LEFT_OUT = {
    "docs/evaluation.md": "needs the weights of networks",
    "docs/export.md": "tests/export/test_page.py runs it, beside exported files",
}
HEAVY = ("docs/api.md", "docs/library.md", "docs/training.md")  # compile train steps
RUN = [pytest.param(page, marks=pytest.mark.heavy if page in HEAVY else ()) for page in PAGES if page not in LEFT_OUT]


@pytest.fixture
def run_page(trained, tmp_path, monkeypatch):
    """run_page(page) -> the names that its blocks, run one after the other, have set."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "facades").symlink_to(trained)
    monkeypatch.chdir(tmp_path)

    def run_page(page):
        names = {"images": np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)}
        for block in re.findall(r"^```python\n(.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL):
            exec(compile(block, page, "exec"), names)
        return names

    return run_page


@pytest.mark.parametrize("page", RUN)
def test_a_page_runs(run_page, page):
    names = run_page(page)
    if page in ("README.md", "docs/inference.md"):
        assert names["fake"].shape == names["images"].shape and names["fake"].dtype == np.uint8


def test_every_public_name_has_a_section_with_an_example():
    sections = re.split(r"^### ", PAGES["docs/api.md"], flags=re.MULTILINE)[1:]
    examples = {section.splitlines()[0]: section for section in sections}
    assert sorted(examples) == sorted(pix2pix_jax.__all__)
    for name, section in examples.items():
        assert f"\n::: pix2pix_jax.{name}\n" in section  # by which the site writes its signature and docstring
        (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
        assert name in code or name == "TrainedModel"


@pytest.mark.heavy
def test_the_site_is_built_without_warnings(tmp_path):
    pytest.importorskip("mkdocstrings", reason="make site installs it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", f"--site-dir={tmp_path}"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0 and "WARNING" not in built.stderr, built.stderr
    page = (tmp_path / "api" / "index.html").read_text()
    assert all(f'id="pix2pix_jax.{name}"' in page for name in pix2pix_jax.__all__)


def test_a_checkpoint_read_by_orbax_alone_translates_as_the_model_does(run_page, trained):
    names = run_page("docs/checkpoints.md")
    assert names["fakes"].shape == (2, 32, 32, 3) and np.isfinite(names["fakes"]).all()
    for statistics, fake in (("instance", names["fake"]), ("running", names["fake_by_averages"])):
        model = pix2pix_jax.load(trained, dropout="off", norm_stats=statistics)
        expected = model.translate(np.asarray(names["images"][:1]))
        np.testing.assert_allclose(np.asarray(fake), expected, atol=1e-5)
