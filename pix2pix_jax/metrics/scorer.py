"""Computes all metrics of a set of images against their targets, batch after batch, on all devices of a mesh."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pix2pix_jax.data.files.value_range import UINT8, ValueRange, from_float, to_float
from pix2pix_jax.metrics import image, labels, lpips
from pix2pix_jax.metrics.choice import ImageSet, MetricsConfig, ResolvedMetrics, choose
from pix2pix_jax.metrics.features import RESIZES, FeatureDistances
from pix2pix_jax.runtime import meshes


class Scorer:
    """Scores batches of images against their targets: each image in `add`, the whole set in `totals`.

    All processes of a run must call the same methods with the same images; each device computes a share.
    """

    def __init__(self, choice: ResolvedMetrics, *, mesh: Mesh, values: ValueRange, cache_key: Sequence[str] = ()):
        """Builds the programs that compute the metrics `choice`.

        Args:
          mesh: the mesh over whose `data` axis batches are spread.
          values: the value range of the images.
          cache_key: strings that identify the targets, such as data set and split. The targets' Inception features are
            kept in a file of that key; without a key, in memory only.
        """
        self._choice, self._mesh = choice, mesh
        self._lpips = meshes.replicate(choice.lpips.variables, mesh) if choice.lpips else {}
        # Compiled apart: fused with the metrics, equal images could differ in their last bit.
        self._normalise = jax.jit(functools.partial(to_float, values=values))
        self._compare = jax.jit(self._compare_batch, out_shardings=meshes.replicated(mesh))
        prefixes = [prefix for prefix in RESIZES if {f"{prefix}fid", f"{prefix}kid"} & set(choice.metrics)]
        self._distances = [FeatureDistances(p, choice, mesh=mesh, cache_key=cache_key) for p in prefixes]
        self.reset()

    def reset(self) -> None:
        """Forgets all images, to begin another set."""
        self._confusion = 0
        for distance in self._distances:
            distance.reset()

    def add(self, output: np.ndarray, target: np.ndarray, count: int) -> list[dict[str, float]]:
        """Adds a batch.

        Args:
          output, target: as stored, (N, H, W, C). N is the same in all batches, a multiple of the mesh's `data`.
          count: number of examples; those after the first `count` are padding.

        Returns:
          For each example, metric -> value. Of the label scores, only pixel accuracy.
        """
        placed = (self._normalise(meshes.spread(x, self._mesh)) for x in (output, target))
        compared = jax.tree.map(np.asarray, self._compare(self._lpips, *placed))
        pictures = compared.pop("pictures", None)
        confusion = compared.pop("confusion", None)
        for distance in self._distances:
            distance.add(*pictures, count)
        if confusion is not None:
            self._confusion = self._confusion + confusion[:count].sum(0, dtype=np.int64)
            compared["pixel_accuracy"] = [labels.scores(c)["pixel_accuracy"] for c in confusion]
        return [{name: float(values[i]) for name, values in compared.items()} for i in range(count)]

    def totals(self) -> dict[str, float]:
        """Returns the metrics of the whole set since `reset`: label scores, FID and KID."""
        answer = labels.scores(self._confusion) if self._choice.palette else {}
        for distance in self._distances:
            answer |= distance.values()
        return answer

    def _compare_batch(self, lpips_variables, *floats: jax.Array) -> dict[str, jax.Array]:
        """Computes metrics of output and target, floating (N, H, W, C) in [-1, 1], as far as the device does."""
        bright = floats[0] + 1, floats[1] + 1  # SSIM compares brightness, so black must be 0
        pictures = [_rgb(from_float(x)) for x in floats]  # rounded as in image files
        everything = {
            "l1": lambda: image.l1(*floats),
            "psnr": lambda: image.psnr(*floats, data_range=2.0),
            "ssim": lambda: image.ssim(*bright, data_range=2.0),
            "ms_ssim": lambda: image.ms_ssim(*bright, data_range=2.0),
            "lpips": lambda: lpips.LPIPS().apply(lpips_variables, *(x / jnp.float32(127.5) - 1 for x in pictures)),
        }
        answer = {name: compute() for name, compute in everything.items() if name in self._choice.metrics}
        if palette := self._choice.palette:
            predicted, truth = palette.classes(pictures[0]), palette.classes(pictures[1], with_void=True)
            answer["confusion"] = labels.confusion(predicted, truth, len(palette))
        return answer | ({"pictures": pictures} if self._distances else {})


def _rgb(pictures: jax.Array) -> jax.Array:
    """Converts (N, H, W, C) to (N, H, W, 3) by repeating grey; `choose` refuses colour metrics for other channels."""
    return jnp.broadcast_to(pictures[..., :3], (*pictures.shape[:3], 3)) if pictures.shape[-1] != 2 else pictures


def score(
    outputs: np.ndarray,
    targets: np.ndarray,
    request: MetricsConfig = MetricsConfig(),  # noqa: B008, it is immutable
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Computes all metrics of images in memory.

    Args:
      outputs, targets: uint8 (N, H, W, C).
      request: the metrics to compute, and the files of their networks' weights.

    Returns:
      (for each image metric -> value, metric -> value of the whole set).

    Raises:
      ValueError: the arrays are not uint8 (N, H, W, C), or their shapes differ.
      UserError: a metric that was asked for cannot be computed; see `choice.choose`.
    """
    if outputs.shape != targets.shape or outputs.ndim != 4 or not outputs.dtype == targets.dtype == np.uint8:
        kinds = f"{outputs.dtype} {outputs.shape} and {targets.dtype} {targets.shape}"
        raise ValueError(f"{kinds}: must be uint8 (N, H, W, C) both")
    count, height, width, channels = outputs.shape
    given = ImageSet(size=(height, width), channels=channels, count=count, palette="none", sample=lambda: targets[:16])
    mesh = meshes.make_local_mesh()
    scorer = Scorer(choose(request, given), mesh=mesh, values=UINT8)
    batch = meshes.inference_batch(mesh)
    records = []
    for start in range(0, count, batch):
        indices = np.minimum(np.arange(start, start + batch), count - 1)
        records += scorer.add(outputs[indices], targets[indices], min(batch, count - start))
    return records, scorer.totals()
