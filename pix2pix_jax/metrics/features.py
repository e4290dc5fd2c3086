"""Computes FID and KID: the distances between the Inception features of two sets of images."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from pix2pix_jax.metrics import distances, feature_cache, inception
from pix2pix_jax.metrics.choice import ResolvedMetrics
from pix2pix_jax.runtime import meshes

# Prefix of a metric's name -> the program whose resize it uses, to bring images to the network's size.
RESIZES = {"": "pytorch-fid", "clean_": "clean-fid"}
_DISTANCES = {"fid": distances.frechet, "kid": distances.kernel}


class FeatureDistances:
    """Accumulates the features of two sets, batch by batch, and computes their distances for one kind of resize.

    FID and KID share one pass of the network, and targets whose features are in the cache need none.
    """

    def __init__(self, prefix: str, choice: ResolvedMetrics, *, mesh: Mesh, cache_key: Sequence[str]):
        """Places the network on the mesh; `prefix` is a key of RESIZES, and the others are as for `Scorer`."""
        self._prefix, self._mesh = prefix, mesh
        self._metrics = [name for name in _DISTANCES if prefix + name in choice.metrics]
        # Only in one process: several might find different features there, and then run different programs.
        cached = cache_key and jax.process_count() == 1
        place = feature_cache.place(choice.inception.digest, RESIZES[prefix], *cache_key) if cached else None
        self._cache = feature_cache.FeatureCache(place)
        self._variables = meshes.replicate(choice.inception.variables, mesh)
        network = inception.Inception()

        def features(variables, pictures: jax.Array) -> jax.Array:
            return network.apply(variables, pictures if prefix else inception.resize_as_pytorch_fid(pictures))

        self._features = jax.jit(features, out_shardings=meshes.replicated(mesh))
        self.reset()

    def reset(self) -> None:
        """Forgets both sets; the cache keeps the targets' features."""
        self._outputs, self._targets = [], []

    def add(self, output: np.ndarray, target: np.ndarray, count: int) -> None:
        """Adds the first `count` pairs of a batch, uint8 (N, H, W, 3) each; N must be the same in all batches."""
        known = self._cache.get(target[:count])
        if known is None:
            known = self._compute(target)[:count]
            self._cache.put(target[:count], known)
        self._outputs.append(self._compute(output)[:count])
        self._targets.append(known)

    def _compute(self, pictures: np.ndarray) -> np.ndarray:
        sized = inception.resize_as_clean_fid(pictures) if self._prefix else pictures
        return np.asarray(self._features(self._variables, meshes.spread(sized, self._mesh)))

    def values(self) -> dict[str, float]:
        """Returns metric -> distance over all images since `reset`, at least two; saves the cache."""
        self._cache.save()
        outputs, targets = np.concatenate(self._outputs), np.concatenate(self._targets)
        return {f"{self._prefix}{name}": _DISTANCES[name](outputs, targets) for name in self._metrics}
