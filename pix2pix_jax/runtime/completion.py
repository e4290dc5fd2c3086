"""Writes the shells' completion scripts with shtab."""

import argparse
from collections.abc import Iterator, Mapping, Sequence

import shtab

# Bash takes the = of --flag=value for a word of its own, of which shtab's function knows nothing.
_BASH_EQUALS = """
_pix2pix_with_equals() {
  local -a words=()
  local i
  for i in "${!COMP_WORDS[@]}"; do
    if [[ ${COMP_WORDS[i]} != "=" ]]; then words+=("${COMP_WORDS[i]}")
    elif [[ $i == "$COMP_CWORD" ]]; then words+=("")
    fi
  done
  local -a COMP_WORDS=("${words[@]}")
  local COMP_CWORD=$((${#words[@]} - 1))
  _shtab_pix2pix
}
complete -o bashdefault -F _pix2pix_with_equals pix2pix
"""


def script(
    parser: argparse.ArgumentParser, shell: str, *, configs: Sequence[str], fields: Mapping[str, Sequence[str]]
) -> str:
    """Returns the completion script of a command line; `parser` gets the flags of the fields.

    Args:
      parser: the command line's.
      shell: bash, zsh or tcsh.
      configs: names of configs, which --config and NAME|FILE take.
      fields: names of fields, each with its choices if it has any.
    """
    for command in _subcommands(parser):
        for action in command._actions:
            kind = str(action.metavar).split("|")[0].partition(".")[0]
            if action.dest in ("config", "name"):
                action.choices = configs
            elif kind in ("FILE", "DIR", "WORKDIR"):
                action.complete = shtab.FILE if kind == "FILE" else shtab.DIRECTORY
        if any(action.dest == "config" for action in command._actions):
            for field, choices in fields.items():
                command.add_argument(f"--config.{field}", choices=choices or None, help="")
    return shtab.complete(parser, shell) + (_BASH_EQUALS if shell == "bash" else "")


def _subcommands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()
