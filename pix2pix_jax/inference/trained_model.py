"""Loads a trained generator and translates images with it."""

import contextlib
import dataclasses
import functools
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from PIL import Image

from pix2pix_jax.configuration import build_data, build_model, validate
from pix2pix_jax.data.files import any_image
from pix2pix_jax.data.files.any_image import AnyArray, AnyPath
from pix2pix_jax.data.files.images import resize, to_pillow
from pix2pix_jax.data.files.value_range import NORMALISED, ValueRange, from_float, levels, to_float
from pix2pix_jax.errors import UserError
from pix2pix_jax.gan.state import count_parameters
from pix2pix_jax.gan.train_step import make_translate_step
from pix2pix_jax.inference import model_file, native
from pix2pix_jax.inference.native import Size, Tile
from pix2pix_jax.inference.tiles import ArrayPicture, Picture
from pix2pix_jax.inference.window_programs import WindowPrograms
from pix2pix_jax.io import hub
from pix2pix_jax.models.convolutions import layers
from pix2pix_jax.runtime import caches, console, meshes
from pix2pix_jax.workdir import checkpoints


def load(workdir: AnyPath, *, step: str | int = "latest", **rules: str) -> "TrainedModel":
    """Loads the generator of a run from its workdir alone, a .safetensors file of `pix2pix export`, or hf://USER/NAME.

    Compiled programs are kept on disk for other processes, as on the command line (`caches.keep_compiled_programs`).

    Args:
      workdir: the workdir of a training run, or the file, local or gs://; or the name on the Hub (`pix2pix push`).
      step: the checkpoint's step, "latest", or "best" by the config's `best_metric`. A file has but one, "latest".
      **rules: norm_stats, dropout or weights, which replace those of the config's `inference`.

    Raises:
      UserError: there is no such checkpoint, it cannot be read, or it lacks the moving average that is asked for.
    """
    caches.keep_compiled_programs()
    if not is_workdir(workdir):
        if step != "latest":
            raise UserError(f"--step={step}: {os.fspath(workdir)} holds one model alone; leave the flag out")
        path = os.fspath(workdir)
        config, variables, step = model_file.read(hub.fetch(path) if path.startswith(hub.PREFIX) else path, rules)
        return TrainedModel(config=config, variables=variables, step=step)

    def read(step: int) -> "TrainedModel":
        config = reader.config(step)
        config.inference.update(rules)
        validate.check(config)
        return TrainedModel(config=config, variables=restore_variables(reader, step, config), step=step)

    with console.quiet_libraries(), contextlib.closing(checkpoints.Checkpoints(workdir, read_only=True)) as reader:
        return reader.load(step, read)


def is_workdir(place: AnyPath) -> bool:
    """Returns whether what `load` takes is a workdir, and not a single model: a file, or a name on the Hub."""
    return not os.fspath(place).startswith(hub.PREFIX) and not os.fspath(place).endswith(model_file.SUFFIX)


def restore_variables(
    reader: checkpoints.Checkpoints, step: int, config: ConfigDict, network: str = "generator"
) -> dict[str, Any]:
    """Restores {"params", "batch_stats"} of the generator, by `config.inference.weights`, or of the discriminator."""
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = checkpoints.abstract(build_model.abstract_variables(config, network), here)
    if network == "discriminator":
        return reader.restore(step, {network: wanted})[network]
    if config.inference.weights == "latest":
        return reader.restore(step, {network: wanted})[network]
    restored = reader.restore(step, {"ema": wanted["params"], network: {"batch_stats": wanted["batch_stats"]}})
    return {"params": restored["ema"], "batch_stats": restored[network]["batch_stats"]}


@dataclasses.dataclass(frozen=True, repr=False)
class TrainedModel:
    """Translates images with a generator, by the inference rules of its config.

    Attributes:
      config: the run's config, a checked ConfigDict.
      variables: the generator's `params` and `batch_stats`.
      step: number of updates that trained them.
    """

    config: Any
    variables: Any
    step: int

    def __repr__(self) -> str:
        """Returns one line, where the dataclass's own would print all arrays."""
        config = self.config
        return (
            f"TrainedModel(step={self.step}, generator={config.generator.name}, "
            f"{count_parameters(self.variables['params']):,} parameters, image_size={tuple(config.image_size)}, "
            f"{config.input_channels} -> {config.target_channels} channels)"
        )

    @overload
    def translate(
        self, images: Image.Image, *, seed: int = 0, size: Size = "model", tile: Tile = "auto"
    ) -> Image.Image: ...

    @overload
    def translate(
        self, images: AnyPath | AnyArray, *, seed: int = 0, size: Size = "model", tile: Tile = "auto"
    ) -> np.ndarray: ...

    def translate(
        self,
        images: AnyPath | Image.Image | AnyArray,
        *,
        seed: int = 0,
        size: Size = "model",
        tile: Tile = "auto",
    ) -> np.ndarray | Image.Image:
        """Translates one image or several.

        At size "model" the images are resized as `config.preprocess` says, by default to the model's `image_size`, but
        not cropped, and their translations back. At another size they go through the generator one by one.
        Dropout is drawn from `seed` and the image as it is given (`picture_ids`), so a translation depends neither on
        the other images of a call nor on the dtype.

        Args:
          images: the path of an image file, a PIL image, or an array (N, H, W, C) or (H, W, C) of NumPy, JAX, PyTorch
            or any library whose arrays NumPy can read. Arrays are of the dtype of the model's inputs,
            `config.input_dtype`, with their own values; where that is an integer, also floating in [-1, 1] (not
            [0, 1]). Files and PIL images are turned upright and converted to that dtype; an A|B pair is not halved.
          seed: seed of dropout, in the range of int32.
          size: "model"; "native", each image at its own size; or (H, W), to which images are resized before, and
            translations back. Other sizes than the model's are padded by reflection to what the generator takes.
          tile: where `size` is not "model": side of the tiles in which large images are translated, in pixels; "off":
            in one pass; "auto": as the free memory allows. Tiles do not show.

        Returns:
          Translations at the images' own size, with `config.target_channels` channels: a PIL image for a PIL image, a
          NumPy array of the same form for an array, (H, W, C) for a path. They have the dtype and values of the model's
          targets, or are float32 in [-1, 1] if `images` were floating in [-1, 1].

        Raises:
          ValueError: `images` have another number of dimensions or channels or another dtype, floats are not finite or
            outside of [-1, 1], Pillow cannot hold the model's targets for a PIL image, or there is no such `size` or
            `tile`.
          UserError: there is no such file, or it is not an image; tiles are too small or the memory is.
        """
        pixels = any_image.to_array(images, self.config.input_channels, self.input_values)
        batch = pixels[None] if pixels.ndim == 3 else pixels
        normalised = self._is_normalised(batch)
        translated = self.translate_each(batch, seed=seed, normalised=normalised, size=size, tile=tile)
        if not translated:
            dtype = "float32" if normalised else self.target_values.dtype
            return np.zeros((*batch.shape[:3], self.config.target_channels), dtype)
        translated = translated[0] if pixels.ndim == 3 else np.stack(translated)
        return to_pillow(translated) if isinstance(images, Image.Image) else translated

    def translate_each(
        self,
        images: Sequence[np.ndarray],
        *,
        seed: int,
        normalised: bool = False,
        size: Size = "model",
        tile: Tile = "auto",
    ) -> list[np.ndarray]:
        """Translates images of any sizes, as `translate`.

        Args:
          images: images (H, W, C), stored values of the model's inputs.
          seed: seed of dropout.
          normalised: True for images that are float32 in [-1, 1] instead, and for such translations.
          size: as in `translate`.
          tile: as in `translate`.

        Returns:
          The translations (H, W, D), stored values of the model's targets.
        """
        inputs, targets = (NORMALISED, NORMALISED) if normalised else (self.input_values, self.target_values)
        native.check(size, tile)
        if size != "model":
            return [self._translate_alone(image, seed, size, tile, (inputs, targets)) for image in images]
        sizes = [build_data.inference_size(self.config, image.shape[:2]) for image in images]
        resized = [
            _resize(image, size, self.config.input_interpolation, inputs)
            for image, size in zip(images, sizes, strict=True)
        ]
        ids = picture_ids(images, inputs)
        together = [slice(None)] if len(set(sizes)) == 1 else [slice(i, i + 1) for i in range(len(images))]
        outputs = []
        for part in together:
            floats = self.translate_resized(np.stack(resized[part]), seed=seed, ids=ids[part])
            outputs += list(floats if normalised else np.asarray(from_float(floats, targets)))
        return [
            _resize(output, image.shape[:2], self.config.target_interpolation, targets)
            for output, image in zip(outputs, images, strict=True)
        ]

    def _translate_alone(
        self, image: np.ndarray, seed: int, size: Size, tile: Tile, values: tuple[ValueRange, ValueRange]
    ) -> np.ndarray:
        (given,) = picture_ids([image], values[0])
        resized = image if size == "native" else _resize(image, size, self.config.input_interpolation, values[0])
        parts = self.translate_picture(ArrayPicture(resized), int(given), seed=seed, tile=tile, values=values)
        return _resize(np.concatenate(list(parts)), image.shape[:2], self.config.target_interpolation, values[1])

    def translate_picture(
        self,
        picture: Picture,
        picture_id: int,
        *,
        seed: int,
        tile: Tile = "auto",
        values: tuple[ValueRange, ValueRange] | None = None,
    ) -> Iterator[np.ndarray]:
        """Translates a picture at its own size, which need not fit into memory.

        Args:
          picture: the picture.
          picture_id: its id, as of `picture_ids`.
          seed: seed of dropout.
          tile: as in `translate`.
          values: value ranges of the picture and of its translation; None: those of the model's inputs and targets.

        Returns:
          The translation from the top down, in parts (h, W, D) as stored.
        """
        key = jax.random.fold_in(jax.random.key(seed), picture_id)
        return native.bands(self._programs(values or (self.input_values, self.target_values)), picture, key, tile)

    def _programs(self, values: tuple[ValueRange, ValueRange]) -> WindowPrograms:
        if values not in self._window_programs:
            self._window_programs[values] = WindowPrograms(
                build_model.build_generator(self.config),
                self.variables,
                color=build_data.color_space(self.config),
                values=values,
                norm_stats=self.config.inference.norm_stats,
                dropout=self.config.inference.dropout == "on",
                mesh=meshes.make_local_mesh(rows=self.config.mesh.rows),
            )
        return self._window_programs[values]

    @functools.cached_property
    def _window_programs(self) -> dict[tuple[ValueRange, ValueRange], WindowPrograms]:
        return {}

    @property
    def input_values(self) -> ValueRange:
        """Returns the value range of the model's inputs as stored."""
        return build_data.stream_values(self.config)["input"]

    @property
    def target_values(self) -> ValueRange:
        """Returns the value range of the model's targets as stored."""
        return build_data.stream_values(self.config)["target"]

    def _is_normalised(self, images: np.ndarray) -> bool:
        """Returns True for images in [-1, 1], False for values of the model's inputs. Raises ValueError if neither."""
        values = self.input_values
        if np.issubdtype(images.dtype, np.floating):
            return values.is_integer
        if images.dtype != values.dtype:
            allowed = f"{values.dtype}, or floating in [-1, 1]" if values.is_integer else "floating"
            raise ValueError(f"images of dtype {images.dtype}: must be {allowed}")
        return False

    def translate_resized(
        self, images: np.ndarray, *, seed: int = 0, ids: np.ndarray | None = None, fill: bool = False
    ) -> np.ndarray:
        """Translates images of a size that the generator takes, without resizing them.

        Args:
          images: (N, H, W, C), at least one; stored values of the model's inputs or floating in [-1, 1].
          seed: seed of dropout.
          ids: `picture_ids` (N,) of the images as they were given; None: computed from `images`.
          fill: True pads a partial batch to a whole one, which saves compiling a second program.

        Returns:
          float32 (N, H, W, D) in [-1, 1].
        """
        values = NORMALISED if self._is_normalised(images) else self.input_values
        ids = picture_ids(images, values) if ids is None else ids
        inputs = np.asarray(images, np.float32) if values == NORMALISED else np.asarray(to_float(images, values))
        outputs = []
        for start in range(0, len(images), self.batch_size):
            count = min(self.batch_size, len(images) - start)
            size = self.batch_size if fill else min(self.batch_size, -(-count // self.mesh.size) * self.mesh.size)
            index = start + filled(self.config, count, size)
            placed = meshes.spread((inputs[index], ids[index]), self.mesh)
            outputs.append(np.asarray(self._compiled(self._placed, *placed, seed))[:count])
        return np.concatenate(outputs)

    @functools.cached_property
    def batch_size(self) -> int:
        """Returns the number of images that go through the network at once."""
        return meshes.inference_batch(self.mesh)

    @functools.cached_property
    def mesh(self) -> Mesh:
        """Returns the mesh whose devices share a batch."""
        return meshes.make_local_mesh()

    @functools.cached_property
    def _compiled(self):
        return jax.jit(make_translate(self.config, platform=meshes.platform(self.mesh)))

    @functools.cached_property
    def _placed(self) -> Any:
        return jax.device_put(self.variables, meshes.replicated(self.mesh))


def _resize(image: np.ndarray, size: tuple[int, int], interpolation: str, values: ValueRange) -> np.ndarray:
    """Resizes as `images.resize`, and clips floats, which overshoot at edges, to their range."""
    if image.dtype.kind != "f":
        return resize(image, size, interpolation)
    return resize(image.astype(np.float32), size, interpolation).clip(*values.limits)


def make_translate(config: ConfigDict, *, platform: str | None):
    """Makes the inference step f(variables, images, ids, seed) by the rules of `config.inference`.

    It is `make_translate_step` with each image's key derived from `seed` and its id (`picture_ids`). Images and
    translations are RGB in colourisation too, which ignores the images' own colours. Convolutions are traced in their
    form for `platform`, or for None in all forms, of which the compiler takes that of its platform.
    """
    translate = make_translate_step(
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
    """Computes the ids from which, with the seed, dropout is drawn: the CRC-32 of each image at 8 bits.

    Translation, evaluation, samples and validation all follow this rule. The images are as they were given, before any
    resize, but upright, with the model's number of channels, and cut from the pair if they came as one.

    Args:
      images: images (H, W, C) of any sizes.
      values: their value range.

    Returns:
      uint32 (N,). An image has the same id in uint8 and in floats.
    """
    return np.array([zlib.crc32(np.ascontiguousarray(levels(image, values))) for image in images], np.uint32)


def filled(config: ConfigDict, count: int, size: int) -> np.ndarray:
    """Returns the indices of `count` images, repeated to fill a batch of `size`.

    With norm_stats "batch" a repeated image would change the statistics, so there a partial batch is not filled, and
    has a program of its own.
    """
    return np.arange(count if config.inference.norm_stats == "batch" else size) % count
