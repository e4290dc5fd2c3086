"""Hooks of mkdocs: README is the first page. Links to files outside docs/ become plain text."""

import pathlib
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def on_files(files, config):
    text = (ROOT / "README.md").read_text().replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Replaces links to what is no page or picture of the site, such as ../configs, by their text."""
    folder = pathlib.PurePosixPath(page.file.src_uri).parent

    def checked(link):
        text, target = link.groups()
        path = target.partition("#")[0]
        if "://" in target or not path:
            return link[0]
        known = any(_same(folder / path, file.src_uri) for file in files)
        return link[0] if known else text

    return LINK.sub(checked, markdown)


def _same(path, uri):
    parts = []
    for part in path.parts:
        parts = parts[:-1] if part == ".." and parts else [*parts, part]
    return "/".join(parts) == uri
