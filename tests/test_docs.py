"""The pages of README and docs/: every relative link leads to a file, and to a heading of it."""

import pathlib
import re

import pytest

from pix2pix_jax import configuration

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]


def anchors(page: pathlib.Path) -> set[str]:
    """Returns the names that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: pathlib.Path) -> list[str]:
    """Returns the relative links of a page, as "path#heading"."""
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_fields_that_a_page_sets_exist(page):
    fields = configuration.flatten(configuration.load("default"))
    assert set(re.findall(r"--config\.([\w.]+)=", page.read_text())) <= {*fields, "FIELD"}


def test_readme_links_every_page_of_docs():
    linked = {ROOT / link.partition("#")[0] for link in links(ROOT / "README.md")}
    assert set((ROOT / "docs").rglob("*.md")) <= linked


def test_readme_is_read_in_one_sitting():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
