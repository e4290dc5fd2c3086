"""A trained generator as it is used: pictures in, pictures out."""

import contextlib
import dataclasses
import functools
import zlib
from collections.abc import Iterable
from typing import Any, overload

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from PIL import Image

from pix2pix_jax.config import build_data, build_model, validate
from pix2pix_jax.data.files import any_image
from pix2pix_jax.data.files.any_image import AnyArray, AnyPath
from pix2pix_jax.data.files.images import resize, to_pillow
from pix2pix_jax.data.files.value_range import NORMALISED, ValueRange, from_float, levels, to_float
from pix2pix_jax.gan import steps
from pix2pix_jax.gan.state import count_parameters
from pix2pix_jax.models.convolutions import layers
from pix2pix_jax.runtime import caches, console, meshes
from pix2pix_jax.workdir import checkpoints


def load(workdir: AnyPath, *, step: str | int = "latest", **rules: str) -> "TrainedModel":
    """Loads the generator of a run; nothing but the workdir is needed.

    What translations compile is kept for other processes, as the command line does (`caches.keep_compiled_programs`).

    Args:
      workdir: of a training run.
      step: of the checkpoint, "latest", or "best" by the config's `best_metric`.
      **rules: norm_stats, dropout or weights, in the place of those of the config's `inference`.

    Raises:
      UserError: no checkpoint there, it cannot be read, or it does not have the moving average that is asked for.
    """
    caches.keep_compiled_programs()

    def read(step: int) -> "TrainedModel":
        config = reader.config(step)
        config.inference.update(rules)
        validate.check(config)
        return TrainedModel(config=config, variables=restore_variables(reader, step, config), step=step)

    with console.quiet_libraries(), contextlib.closing(checkpoints.Checkpoints(workdir, read_only=True)) as reader:
        return reader.load(step, read)


def restore_variables(
    reader: checkpoints.Checkpoints, step: int, config: ConfigDict, network: str = "generator"
) -> dict[str, Any]:
    """{"params", "batch_stats"} of a checkpoint's generator, as `config.inference.weights` says, or discriminator."""
    parts = build_model.build_parts(config, num_examples=1)
    state = jax.eval_shape(functools.partial(build_model.create_state, config, parts))
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    if network == "discriminator":
        return reader.restore(step, {network: checkpoints.abstract(state.discriminator.variables, here)})[network]
    wanted = checkpoints.abstract(build_model.inference_variables(config, state), here)
    if config.inference.weights == "latest":
        return reader.restore(step, {network: wanted})[network]
    restored = reader.restore(step, {"ema": wanted["params"], network: {"batch_stats": wanted["batch_stats"]}})
    return {"params": restored["ema"], "batch_stats": restored[network]["batch_stats"]}


@dataclasses.dataclass(frozen=True, repr=False)
class TrainedModel:
    """A generator with its parameters and the inference rules of its config.

    Attributes:
      config: of the run, a ConfigDict; its fields have the types that configs/default.py gives them.
      variables: the generator's `params` and `batch_stats`.
      step: updates that made them.
    """

    config: Any
    variables: Any
    step: int

    def __repr__(self) -> str:
        """One line: the arrays that the dataclass's own would print are not for reading."""
        config = self.config
        return (
            f"TrainedModel(step={self.step}, generator={config.generator.name}, "
            f"{count_parameters(self.variables['params']):,} parameters, image_size={tuple(config.image_size)}, "
            f"{config.input_channels} -> {config.target_channels} channels)"
        )

    @overload
    def translate(self, images: Image.Image, *, seed: int = 0) -> Image.Image: ...

    @overload
    def translate(self, images: AnyPath | AnyArray, *, seed: int = 0) -> np.ndarray: ...

    def translate(self, images: AnyPath | Image.Image | AnyArray, *, seed: int = 0) -> np.ndarray | Image.Image:
        """Translates one picture or several.

        The images are resized as `config.preprocess` says, by default to the model's `image_size`, but not cropped, and
        their translations back. Dropout is drawn from `seed` and the picture as it is given (`picture_ids`), so a
        picture's translation does not depend on what else is translated with it, nor on its dtype.

        Args:
          images: the path of an image file, a PIL image, or an array (N, H, W, C) or (H, W, C) of NumPy, JAX, PyTorch
            or any library whose arrays NumPy can read. Arrays are of the dtype of the model's inputs,
            `config.input_dtype`, with their own values; where that is an integer, also floating in [-1, 1] (not
            [0, 1]). Files and PIL images are turned upright and converted to that dtype; an A|B pair is not halved.
          seed: of dropout.

        Returns:
          Translations at the images' own size, with `config.target_channels` channels. Of a PIL image a PIL image; of
          an array a NumPy array of the same form, of a path (H, W, C). They are of the dtype and with the values of the
          model's targets, or float32 in [-1, 1] if `images` were floating in [-1, 1].

        Raises:
          ValueError: another number of dimensions or channels, another dtype, floats that are not finite or outside of
            [-1, 1], or a PIL image where Pillow cannot hold the model's targets.
          UserError: no such file, or it is no image.
        """
        pixels = any_image.to_array(images, self.config.input_channels, self.input_values)
        translated = self._translate_array(pixels, seed=seed)
        return to_pillow(translated) if isinstance(images, Image.Image) else translated

    def _translate_array(self, images: np.ndarray, *, seed: int) -> np.ndarray:
        """As `translate`, of arrays alone."""
        batch = images[None] if images.ndim == 3 else images
        normalised = self._is_normalised(batch)
        size, method = build_data.inference_size(self.config, batch.shape[1:3]), self.config.input_interpolation
        limits = (-1, 1) if normalised else None
        ids = picture_ids(batch, NORMALISED if normalised else self.input_values)
        inputs = np.stack([resize_within(image, size, method, limits) for image in batch]) if len(batch) else batch
        outputs = self.translate_resized(inputs, seed=seed, ids=ids)
        if not normalised:
            outputs = np.asarray(from_float(outputs, self.target_values))
            limits = self.target_values.limits
        size, method = batch.shape[1:3], self.config.target_interpolation
        outputs = np.stack([resize_within(image, size, method, limits) for image in outputs]) if len(batch) else outputs
        return outputs[0] if images.ndim == 3 else outputs

    @property
    def input_values(self) -> ValueRange:
        """What the stored values of the model's inputs mean."""
        return build_data.stream_values(self.config)["input"]

    @property
    def target_values(self) -> ValueRange:
        return build_data.stream_values(self.config)["target"]

    def _is_normalised(self, images: np.ndarray) -> bool:
        """Whether they are in [-1, 1], not as the model's inputs are stored. Raises ValueError if they are neither."""
        values, floating = self.input_values, np.issubdtype(images.dtype, np.floating)
        if images.dtype == values.dtype or (floating and not values.is_integer):
            return False
        if not floating:
            allowed = f"{values.dtype}, or floating in [-1, 1]" if values.is_integer else "floating"
            raise ValueError(f"images of dtype {images.dtype}: must be {allowed}")
        return True

    def translate_resized(
        self, images: np.ndarray, *, seed: int = 0, ids: np.ndarray | None = None, fill: bool = False
    ) -> np.ndarray:
        """As `translate`, images of a size that the generator takes.

        Args:
          images: (N, H, W, C).
          seed: of dropout.
          ids: `picture_ids` of the pictures as they were given; None: they were given as `images`.
          fill: whether a partial batch goes through the program of a whole one, which spares compiling another.

        Returns:
          float32 (N, H, W, D) in [-1, 1].
        """
        values = NORMALISED if self._is_normalised(images) else self.input_values
        ids = picture_ids(images, values) if ids is None else ids
        inputs = np.asarray(images, np.float32) if values == NORMALISED else np.asarray(to_float(images, values))
        outputs = []
        for i in range(0, len(images), self.batch_size):
            batch = slice(i, i + self.batch_size)
            outputs.append(self._translate_batch(inputs[batch], ids[batch], seed, fill))
        shape = (0, *self.config.image_size, self.config.target_channels)
        return np.concatenate(outputs) if outputs else np.zeros(shape, np.float32)

    @functools.cached_property
    def batch_size(self) -> int:
        """Pictures that go through the network at once."""
        return meshes.inference_batch(self.mesh)

    @functools.cached_property
    def mesh(self) -> Mesh:
        """Whose devices share the pictures."""
        return meshes.make_local_mesh()

    @functools.cached_property
    def _compiled(self):
        translate = make_translate(self.config, platform=meshes.platform(self.mesh))
        return jax.jit(translate)

    @functools.cached_property
    def _placed(self) -> Any:
        return jax.device_put(self.variables, meshes.replicated(self.mesh))

    def _translate_batch(self, inputs: np.ndarray, ids: np.ndarray, seed: int, fill: bool) -> np.ndarray:
        count = len(inputs)
        size = self.batch_size if fill else min(self.batch_size, -(-count // self.mesh.size) * self.mesh.size)
        index = filled(self.config, count, size)
        placed = meshes.spread((inputs[index], ids[index]), self.mesh)
        return np.asarray(self._compiled(self._placed, *placed, seed))[:count]


def resize_within(
    image: np.ndarray, size: tuple[int, int], interpolation: str, limits: tuple[float, float] | None
) -> np.ndarray:
    """`images.resize`; floats, which overshoot at edges, are clipped to `limits`."""
    if image.dtype.kind != "f":
        return resize(image, size, interpolation)
    resized = resize(image.astype(np.float32), size, interpolation)
    return resized.clip(*limits) if limits else resized


def make_translate(config: ConfigDict, *, platform: str):
    """The inference step f(variables, images, ids, seed) with the rules of `config.inference`.

    Like `steps.make_translate_step`, with each picture's key drawn from `seed` and its id (`picture_ids`). Images and
    translations are RGB in colourisation too, where the images' own colours are not looked at. Convolutions are traced
    in their form for `platform`.
    """
    translate = steps.make_translate_step(
        build_model.build_generator(config),
        norm_stats=config.inference.norm_stats,
        dropout=config.inference.dropout == "on",
    )

    @layers.traced_for(platform)
    def translate_by_id(variables, images, ids, seed):
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(ids)
        return build_data.color_space(config).translate(images, lambda x: translate(variables, x, keys))

    return translate_by_id


def picture_ids(images: Iterable[np.ndarray], values: ValueRange = NORMALISED) -> np.ndarray:
    """What dropout is drawn from beside the seed: the CRC-32 of each picture, as it is given, at 8 bits.

    The one rule of translate, evaluate, samples and the evaluation of a running training. A picture as it is given is
    upright, of the model's number of channels, of its own size, and half of a pair where it comes as one.

    Args:
      images: each (H, W, C).
      values: what their stored values mean.

    Returns:
      uint32 (N,). A picture's floats have the id of its bytes.
    """
    return np.array([zlib.crc32(np.ascontiguousarray(levels(image, values))) for image in images], np.uint32)


def filled(config: ConfigDict, count: int, size: int) -> np.ndarray:
    """Indices of `count` pictures, repeated to fill a batch of `size`.

    Under norm_stats "batch" a repeated picture would count as data, so nothing is filled there: a partial batch has a
    program of its own.
    """
    return np.arange(count if config.inference.norm_stats == "batch" else size) % count
