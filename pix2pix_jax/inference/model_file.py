"""A trained generator as a .safetensors file: its parameters under their own names, and what else a model is."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from pix2pix_jax import config as config_lib
from pix2pix_jax.config import build_model, validate
from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.io import safetensors_file

SUFFIX = ".safetensors"


def dump(variables: Mapping[str, Any], about: Mapping[str, Any]) -> bytes:
    """Returns the bytes of a file.

    Args:
      variables: `params` and `batch_stats` of a generator; an array's name in the file is its path, as
        "params/down0/kernel".
      about: a JSON object with at least "config", as of `config.to_dict`, and "step".
    """
    flat = traverse_util.flatten_dict(variables, sep="/")
    return safetensors_file.dump({name: np.asarray(array) for name, array in flat.items()}, about)


def read(path: str, rules: Mapping[str, str]) -> tuple[ConfigDict, dict[str, Any], int]:
    """Reads a file.

    Args:
      path: of the file.
      rules: fields of the config's `inference` to be replaced.

    Returns:
      (config, variables, step).

    Raises:
      UserError: it cannot be read, its arrays are not those of its config, or it lacks the `weights` of the rules.
    """
    arrays, about = safetensors_file.read(path)
    values, step = about.get("config"), about.get("step")
    if not isinstance(values, dict) or type(step) is not int or step < 0:
        raise UserError(f"{path}: holds no config and step of pix2pix_jax; give a file that pix2pix export wrote")
    config = config_lib.from_dict(values)
    held = config.inference.weights
    config.inference.update(rules)
    validate.check(config)
    if config.inference.weights != held:
        raise UserError(f"{path}: holds the weights {held!r} alone; export {config.inference.weights!r} from the run")
    expected = traverse_util.flatten_dict(build_model.abstract_variables(config), sep="/")
    found = {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
    wanted = {name: (array.shape, str(array.dtype)) for name, array in expected.items()}
    if wrong := sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)):
        raise UserError(f"{path}: {printable(wrong[0], 100)} is not as its config has it; write it again")
    variables = {"params": {}, "batch_stats": {}} | traverse_util.unflatten_dict(arrays, sep="/")
    return config, jax.tree.map(jnp.asarray, variables), step
