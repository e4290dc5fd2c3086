"""Scores images made from label maps: a segmentation network labels them, and is compared with those label maps.

It is the FCN score of the paper (section 4.1), with any exported network in place of Caffe's FCN-8s. The real
photographs are scored too, as in the paper: translations can hardly score higher. The only importer of onnxruntime.
"""

import importlib.util
import pathlib
from typing import Any

import numpy as np

from pix2pix_jax.data.files.high_bit_depth import height_by_width
from pix2pix_jax.data.files.images import resize
from pix2pix_jax.errors import UserError, printable
from pix2pix_jax.metrics import labels

_MEAN, _STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])  # ImageNet's, for values in [0, 1]
# Name of a network's value range -> conversion of pixels, float32 from 0 to 255, to it.
_SCALES = {
    "imagenet": lambda pixels: (pixels / np.float32(255) - _MEAN) / _STD,
    "0..1": lambda pixels: pixels / np.float32(255),
    "0..255": lambda pixels: pixels,
    "-1..1": lambda pixels: pixels / np.float32(127.5) - 1,
}


class Segmenter:
    """Runs an exported segmentation network.

    The ONNX file must have:
      input: exactly one, RGB of (N, 3, H, W) or (N, H, W, 3). A uint8 input gets 0 to 255. A float32 input gets values
        normalised by ImageNet's mean and deviation, as torchvision's networks take them, unless the file's metadata say
        `pix2pix.scale` = "0..1", "0..255" or "-1..1". N may be 1 or free. If H and W are fixed, images are resized.
      output: the first one, scores of K classes (N, K, h, w) or (N, h, w, K) in the palette's order, or integer class
        numbers (N, h, w). If h, w are not the label map's, each pixel takes the class of the nearest one.
    """

    def __init__(self, file: str, num_classes: int):
        """Opens an .onnx file. Raises UserError if onnxruntime is not installed or the file is not such a network."""
        if importlib.util.find_spec("onnxruntime") is None:
            raise UserError("--segmenter: needs onnxruntime; pip install onnxruntime, or '.[onnx]'")
        import onnxruntime

        if not pathlib.Path(file).is_file():
            raise UserError(f"--segmenter={file}: no such file; name an .onnx file")
        self._file, self._num_classes = file, num_classes
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised; the log would repeat them
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers=onnxruntime.get_available_providers())
            self._scale = self._session.get_modelmeta().custom_metadata_map.get("pix2pix.scale", "imagenet")
        except Exception as error:  # onnxruntime's types have no common base
            raise UserError(f"--segmenter={file}: cannot be read as ONNX ({printable(str(error), 150)})") from error
        inputs = self._session.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or inputs[0].type not in ("tensor(float)", "tensor(uint8)"):
            raise self._unfit(f"takes {[(i.name, i.type, i.shape) for i in inputs]}, not float or uint8 images alone")
        if 3 not in (shape[1], shape[3]):
            raise self._unfit(f"takes {shape}, where the second or the last is to be 3, red, green and blue")
        if self._scale not in _SCALES:
            raise self._unfit(f"has pix2pix.scale {self._scale!r}, not one of {', '.join(_SCALES)}")
        self._name, self._floats, self._channels_first = inputs[0].name, "float" in inputs[0].type, shape[1] == 3
        sides = shape[2:] if self._channels_first else shape[1:3]
        self._size = tuple(sides) if all(isinstance(side, int) for side in sides) else None

    def classes(self, picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Maps uint8 (H, W, 1 or 3) to class numbers, integer (*size). Raises UserError if the network fails."""
        picture = np.broadcast_to(picture, (*picture.shape[:2], 3))
        values = resize(np.ascontiguousarray(picture), self._size or size, "bilinear")
        if self._floats:
            values = _SCALES[self._scale](values.astype(np.float32))
        batch = (values.transpose(2, 0, 1) if self._channels_first else values)[None]
        try:
            answer = self._session.run(None, {self._name: np.ascontiguousarray(batch)})[0]
        except Exception as error:
            raise self._unfit(
                f"fails for pictures of {height_by_width(size)} ({printable(str(error), 150)})"
            ) from error
        numbers = self._numbers(np.asarray(answer))
        if numbers.size == 0 or numbers.min() < 0 or numbers.max() >= self._num_classes:
            raise self._unfit(
                f"answers class {numbers.max(initial=0)}, but the palette has {self._num_classes} classes"
            )
        rows, columns = (np.arange(n) * m // n for n, m in zip(size, numbers.shape, strict=True))
        return numbers[rows[:, None], columns]

    def _numbers(self, answer: np.ndarray) -> np.ndarray:
        """Converts the network's output to class numbers (h, w)."""
        if answer.ndim == 3 and len(answer) == 1 and answer.dtype.kind in "iu":
            return answer[0]
        if answer.ndim == 4 and len(answer) == 1 and self._num_classes in (answer.shape[1], answer.shape[3]):
            return answer[0].argmax(0 if answer.shape[1] == self._num_classes else -1)
        wanted = f"scores of {self._num_classes} classes, as many as the palette has, or integers (1, h, w)"
        raise self._unfit(f"answers {answer.dtype} of {answer.shape}, where {wanted} are wanted")

    def _unfit(self, what: str) -> UserError:
        return UserError(f"--segmenter={self._file}: {what}; see docs/evaluation.md for what is asked of the network")


class Segmentation:
    """Accumulates the scores of a segmenter on translations and on real photographs."""

    def __init__(self, file: str, palette: str):
        """Opens the network in `file`; `palette` names the label maps' palette (`labels.find`). Raises UserError."""
        if palette in ("auto", "none"):
            raise UserError("--segmenter: needs the colours of the label maps: --palette=cityscapes, facades or FILE")
        self._palette = labels.find(palette)
        self._segmenter = Segmenter(file, len(self._palette))
        self._confusion: dict[str, Any] = {}

    def add(self, *, output: np.ndarray, target: np.ndarray, label_map: np.ndarray) -> None:
        """Adds an example: translation, photograph and label map, uint8 (H, W, 1 or 3). Raises UserError."""
        if not self._confusion and (misfit := labels.misfit(self._palette, label_map[None])):
            raise UserError(misfit)
        truth = self._palette.classes(label_map[None], with_void=True)
        for prefix, picture in (("fcn_", output), ("fcn_real_", target)):
            predicted = self._segmenter.classes(picture, label_map.shape[:2])
            counts = labels.confusion(predicted[None].astype(np.int32), truth, len(self._palette))
            self._confusion[prefix] = self._confusion.get(prefix, 0) + np.asarray(counts[0], np.int64)

    def totals(self) -> dict[str, float]:
        """Returns fcn_pixel_accuracy, fcn_class_accuracy and fcn_mean_iou; with fcn_real_, those of the photographs."""
        scores = {prefix: labels.scores(confusion) for prefix, confusion in self._confusion.items()}
        return {prefix + name: value for prefix in scores for name, value in scores[prefix].items()}
