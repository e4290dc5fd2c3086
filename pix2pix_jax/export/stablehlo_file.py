"""Writes a trained model as a program of StableHLO, in JAX's own format, for CPUs, NVIDIA GPUs and TPUs."""

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import export

from pix2pix_jax.config import build_data
from pix2pix_jax.errors import UserError
from pix2pix_jax.inference import native
from pix2pix_jax.inference.trained_model import TrainedModel, make_translate

PLATFORMS = ("cpu", "cuda", "tpu")


def parse_size(text: str, model: TrainedModel) -> tuple[int, int] | None:
    """Reads any (None), model or HxW. Raises UserError for anything else, or what the generator does not take."""
    if text == "any":
        return None
    if text == "native":
        raise UserError("--size=native: must be any, model, or height x width in pixels, such as 512x768")
    size = tuple(model.config.image_size) if text == "model" else native.parse_size(text)
    multiple = build_data.size_multiple(model.config)
    if size[0] % multiple or size[1] % multiple:
        raise UserError(f"--size={text}: both sides must be multiples of {multiple} for this generator")
    if model.config.inference.norm_stats == "batch":
        raise UserError(
            f"--size={text}: with norm_stats batch the forms of convolutions depend on the number of images, which the "
            "file leaves free; leave --size out, or take --norm_stats=instance"
        )
    return size


def serialise(model: TrainedModel, size: tuple[int, int] | None = None) -> bytes:
    """Returns the bytes of a file that `jax.export.deserialize` reads.

    Args:
      model: the model, whose config's `inference` says which rules the program follows.
      size: (H, W) of its images; None: any that the generator takes. Programs for any size compute convolutions in the
        plain form, as the others are chosen by the size.

    Returns:
      The program f(images): float32 (N, H, W, C) in [-1, 1] -> float32 (N, H, W, D), N any number. With dropout it is
      f(images, ids, seed), with uint32 (N,) as of `picture_ids` and an int32.
    """
    # The barrier keeps XLA from computing with the parameters beforehand, which rounds otherwise than devices do.
    translate = make_translate(model.config, platform=None if size else "default")

    def program(images, ids, seed):
        return translate(jax.lax.optimization_barrier(model.variables), images, ids, seed)

    def without_dropout(images):
        return program(images, jnp.zeros(images.shape[0], jnp.uint32), 0)

    images, ids, seed = _arguments(model, size)
    if model.config.inference.dropout == "on":
        return _export(program, images, ids, seed)
    return _export(without_dropout, images)


def _arguments(model: TrainedModel, size: tuple[int, int] | None) -> tuple[jax.ShapeDtypeStruct, ...]:
    # What pads by reflection at a quarter of the size needs 2 pixels there.
    least = ["h >= 2", "w >= 2"] if model.config.generator.name == "resnet" and not size else []
    n, h, w = export.symbolic_shape("n, h, w", constraints=least)
    multiple = build_data.size_multiple(model.config)
    height, width = size or (multiple * h, multiple * w)
    return (
        jax.ShapeDtypeStruct((n, height, width, model.config.input_channels), jnp.float32),
        jax.ShapeDtypeStruct((n,), jnp.uint32),
        jax.ShapeDtypeStruct((), jnp.int32),
    )


def _export(program, *arguments: jax.ShapeDtypeStruct) -> bytes:
    with _without_source_paths():
        return bytes(export.export(jax.jit(program), platforms=PLATFORMS)(*arguments).serialize())


@contextlib.contextmanager
def _without_source_paths() -> Iterator[None]:
    """Keeps the places of source files on this machine out of programs, which are for others."""
    name = "jax_hlo_source_file_canonicalization_regex"
    before = getattr(jax.config, name)
    jax.config.update(name, ".*")
    try:
        yield
    finally:
        jax.config.update(name, before)


def describe(size: tuple[int, int] | None, model: TrainedModel) -> str:
    """Says in a line which images a file takes, and whose bits it gives."""
    if size:
        return f"takes float32 (N, {size[0]}, {size[1]}, C), with the bits and the speed of translate"
    multiple = build_data.size_multiple(model.config)
    return f"takes float32 (N, H, W, C), multiples of {multiple}, in the plain form; --size=model has translate's speed"
