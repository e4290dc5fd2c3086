"""All metrics of a set of pictures against their targets, batch after batch, on all devices of a mesh."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pix2pix_jax.data.files.value_range import UINT8, ValueRange, to_float, to_uint8
from pix2pix_jax.metrics import feature_cache, image, labels, lpips
from pix2pix_jax.metrics.choice import ImageSet, MetricsConfig, ResolvedMetrics, choose
from pix2pix_jax.metrics.features import RESIZES, FeatureDistances
from pix2pix_jax.runtime import meshes


class Scorer:
    """Takes batches of pictures and targets; answers each picture's numbers, and at the end those of the set.

    All processes of a run call the same methods with the same pictures; each device computes a share.
    """

    def __init__(self, choice: ResolvedMetrics, *, mesh: Mesh, values: ValueRange, words: Sequence[str] = ()):
        """Builds the programs.

        Args:
          choice: of metrics.
          mesh: batches are spread over its `data` axis.
          values: what the stored values of the pictures mean.
          words: what tells the targets from others, as the set and the split, for the files that keep their features;
            without, features are kept in memory only.
        """
        self._choice, self._mesh = choice, mesh
        self._lpips = meshes.replicate(choice.lpips.variables, mesh) if choice.lpips else {}
        # A program of its own: fused with what follows, equal pictures would come to differ in a last bit.
        self._normalise = jax.jit(functools.partial(to_float, values=values))
        self._compare = jax.jit(self._compare_batch, out_shardings=meshes.replicated(mesh))
        self._distances = []
        for prefix, resize in RESIZES.items():
            if {f"{prefix}fid", f"{prefix}kid"} & set(choice.metrics):
                # Processes would have to find the same in their files, or they would not run the same programs.
                place = feature_cache.place(choice.inception.digest, resize, *words) if words else None
                cache = feature_cache.FeatureCache(place if jax.process_count() == 1 else None)
                self._distances.append(
                    FeatureDistances(prefix, choice.inception.variables, metrics=choice.metrics, mesh=mesh, cache=cache)
                )
        self.reset()

    def reset(self) -> None:
        """Begins another set."""
        self._confusion = 0
        for distance in self._distances:
            distance.reset()

    def add(self, output: np.ndarray, target: np.ndarray, count: int) -> list[dict[str, float]]:
        """Adds a batch.

        Args:
          output: (N, H, W, C), as stored; N is the same in all batches, and `data` of the mesh divides it.
          target: like `output`.
          count: of the batch's first that count; what follows fills it up.

        Returns:
          For each of them, metric -> value; of label scores the pixel accuracy.
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
        """The numbers of all pictures since `reset` that are of the whole set: label scores, FID, KID."""
        answer = labels.scores(self._confusion) if self._choice.palette else {}
        for distance in self._distances:
            answer |= distance.values()
        return answer

    def _compare_batch(self, lpips_variables, *floats: jax.Array) -> dict[str, jax.Array]:
        """All that pictures, in [-1, 1], are compared by on the device."""
        bright = floats[0] + 1, floats[1] + 1  # SSIM weighs brightness, which is to begin at 0
        pictures = [_rgb(to_uint8(x)) for x in floats]  # as files for people have them
        palette = self._choice.palette
        everything = {
            "l1": lambda: image.l1(*floats),
            "psnr": lambda: image.psnr(*floats, data_range=2.0),
            "ssim": lambda: image.ssim(*bright, data_range=2.0),
            "ms_ssim": lambda: image.ms_ssim(*bright, data_range=2.0),
            "lpips": lambda: lpips.LPIPS().apply(lpips_variables, *(x / jnp.float32(127.5) - 1 for x in pictures)),
        }
        answer = {name: compute() for name, compute in everything.items() if name in self._choice.metrics}
        if palette:
            predicted, truth = palette.classes(pictures[0]), palette.classes(pictures[1], with_void=True)
            answer["confusion"] = labels.confusion(predicted, truth, len(palette))
        return answer | ({"pictures": pictures} if self._distances else {})


def _rgb(pictures: jax.Array) -> jax.Array:
    """(N, H, W, C) -> (N, H, W, 3): grey is repeated; metrics of colours are refused for other numbers of channels."""
    return jnp.broadcast_to(pictures[..., :3], (*pictures.shape[:3], 3)) if pictures.shape[-1] != 2 else pictures


def score(
    outputs: np.ndarray,
    targets: np.ndarray,
    request: MetricsConfig = MetricsConfig(),  # noqa: B008, it is immutable
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """All metrics of pictures in memory.

    Args:
      outputs: uint8 (N, H, W, C).
      targets: like `outputs`.
      request: which metrics, and where the weights of their networks are.

    Returns:
      (metric -> value of each picture, metric -> value of the set).

    Raises:
      ValueError: arrays of other or different shapes and dtypes.
      UserError: a metric that was asked for cannot be computed; see `choice.choose`.
    """
    if outputs.shape != targets.shape or outputs.ndim != 4 or not outputs.dtype == targets.dtype == np.uint8:
        raise ValueError(
            f"{outputs.dtype} {outputs.shape} and {targets.dtype} {targets.shape}: must be uint8 (N, H, W, C) both"
        )
    count, *size, channels = outputs.shape
    sample = np.broadcast_to(targets[:16, ..., :3], (min(16, count), *size, 3)) if channels in (1, 3) else targets[:16]
    known = ImageSet(size=tuple(size), channels=channels, count=count, palette="none", sample=lambda: sample)
    mesh = meshes.make_local_mesh()
    scorer = Scorer(choose(request, known), mesh=mesh, values=UINT8)
    batch = meshes.inference_batch(mesh)
    records = []
    for start in range(0, count, batch):
        indices = np.minimum(np.arange(start, start + batch), count - 1)
        records += scorer.add(outputs[indices], targets[indices], min(batch, count - start))
    return records, scorer.totals()
