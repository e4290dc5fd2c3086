"""Names the fields that a mistyped name of a field may stand for."""

import difflib

from pix2pix_jax.configs import default
from pix2pix_jax.configuration.validate import flatten

_MOST = 3  # names in one message


def hint(field: str) -> str:
    """Returns the end of a message about `field`, such as "generator.featurs", that does not exist."""
    *groups, leaf = field.split(".")
    known = list(flatten(default.get_config()))
    known += dict.fromkeys(name.rpartition(".")[0] for name in known if "." in name)  # the groups
    leaves: dict[str, list[str]] = {}
    for name in known:
        leaves.setdefault(name.split(".")[-1], []).append(name)
    inside = {name.split(".")[-1]: name for name in known if groups and name.startswith(".".join(groups) + ".")}
    if near := difflib.get_close_matches(leaf, inside, n=_MOST):
        return _did_you_mean([inside[name] for name in near])
    near = [leaf] if leaf in leaves else difflib.get_close_matches(leaf, leaves, n=_MOST)
    found = [name for match in near for name in leaves[match]]
    if groups:
        found.sort(key=lambda name: -difflib.SequenceMatcher(None, field, name).ratio())
    if found:
        return _did_you_mean(found[:_MOST])
    if inside:
        return f"config.{'.'.join(groups)} has {', '.join(inside)}"
    return "`pix2pix configs default` lists the fields"


def _did_you_mean(names: list[str]) -> str:
    *others, last = (f"config.{name}" for name in names)
    return f"did you mean {', '.join(others)}{' or ' if others else ''}{last}?"
