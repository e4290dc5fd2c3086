"""The Python of README and docs/ runs as written, page by page, beside a trained run called runs/facades."""

import pathlib
import re

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


@pytest.fixture
def run_page(trained, tmp_path, monkeypatch):
    """run_page(page) -> the names that its blocks, run one after the other, have set."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "facades").symlink_to(trained)
    monkeypatch.chdir(tmp_path)

    def run_page(page):
        names = {"images": np.zeros((2, 32, 32, 3), np.uint8)}
        for block in re.findall(r"^```python\n(.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL):
            exec(compile(block, page, "exec"), names)
        return names

    return run_page


@pytest.mark.parametrize("page", [page for page in PAGES if page not in LEFT_OUT])
def test_a_page_runs(run_page, page):
    assert run_page(page)


def test_a_checkpoint_read_by_orbax_alone_translates_as_the_model_does(run_page, trained):
    names = run_page("docs/checkpoints.md")
    assert names["fakes"].shape == (2, 32, 32, 3) and np.isfinite(names["fakes"]).all()
    for statistics, fake in (("instance", names["fake"]), ("running", names["fake_by_averages"])):
        model = pix2pix_jax.load(trained, dropout="off", norm_stats=statistics)
        expected = model.translate(np.asarray(names["images"][:1]))
        np.testing.assert_allclose(np.asarray(fake), expected, atol=1e-5)
