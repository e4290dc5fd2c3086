"""Says what configs and their fields are, in the words of `configs/`: docstrings and comments."""

import ast
import dataclasses
import functools
import io
import pathlib
import re
import textwrap
import tokenize

from pix2pix_jax.configs import default
from pix2pix_jax.configuration.files import names, path_of, read
from pix2pix_jax.configuration.validate import flatten

_FIELD = re.compile(r"\s*config\.([\w.]+) = ")


@dataclasses.dataclass(frozen=True)
class Field:
    """Holds a field's name, as "generator.features", the heading it stands under, and its meaning in one line."""

    name: str
    heading: str
    meaning: str


@functools.cache
def fields() -> dict[str, Field]:
    """Returns the fields and groups of `configs/default.py` by name, in order.

    A field's meaning is the comment beside it, and on the lines right below it. A comment after an empty line is the
    heading of the fields below it.
    """
    source = pathlib.Path(default.__file__).read_text()
    comments = _comments(source)
    found: dict[str, Field] = {}
    heading, name = "", ""  # where a line of comment alone belongs
    for number, line in enumerate(source.splitlines(), 1):
        comment = comments.get(number, "")
        if field := _FIELD.match(line):
            name = field[1]
            found[name] = Field(name, heading, comment)
        elif not comment:
            name, heading = "", heading if line.strip() else ""
        elif name:
            found[name] = dataclasses.replace(found[name], meaning=f"{found[name].meaning} {comment}")
        else:
            heading = f"{heading} {comment}".strip()
    return {name: field for name, field in found.items() if field.meaning}


def _comments(source: str) -> dict[int, str]:
    """Returns the text of the comments of a program by line number."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def table(*, width: int = 100) -> str:
    """Returns a line of at most `width` characters for each config that has a name: the name and what it is."""
    known = names()
    column = max(map(len, known)) + 2
    return "\n".join(f"{name:<{column}}" + textwrap.shorten(summary(name), width - column) for name in known)


def summary(name: str) -> str:
    """Returns the first sentence of the docstring of a config, by its name."""
    paragraph = " ".join(_docstring(path_of(name)).split("\n\n")[0].split())
    return re.split(r"(?<=[a-z)0-9])\. ", paragraph)[0].rstrip(".")


def _docstring(path: pathlib.Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def describe(spec: str, *, width: int = 100) -> str:
    """Returns the docstring of a config, and every field with its value and meaning, in lines of `width` characters.

    Args:
      spec: as for `files.load`.
      width: characters of a line.

    Raises:
      UserError: no such config.
    """
    config, usual = flatten(read(spec)), flatten(default.get_config())
    blocks, heading = [_docstring(path_of(spec))], ""
    for field in fields().values():
        if field.heading != heading:
            heading = field.heading
            blocks.append("\n" + textwrap.fill(f"# {heading}", width, subsequent_indent="# "))
        line, before = f"config.{field.name}", usual.get(field.name)
        if field.name in config:
            line += f" = {_written(config[field.name])}"
            line += f"  (default: {_written(before)})" if config[field.name] != before else ""
        indent = " " * 4
        blocks += [line, textwrap.fill(field.meaning, width, initial_indent=indent, subsequent_indent=indent)]
    return "\n".join(blocks).strip("\n")


def _written(value: object) -> str:
    """Writes a value as the command line takes it; "unset" for None."""
    if value is None:
        return "unset"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value) if value != "" else '""'
