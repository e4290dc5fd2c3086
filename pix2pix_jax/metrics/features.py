"""Computes FID and KID: the distances between the Inception features of two sets of images."""

import jax
import numpy as np
from jax.sharding import Mesh

from pix2pix_jax.metrics import distances, inception
from pix2pix_jax.metrics.distances import Statistics
from pix2pix_jax.metrics.feature_cache import FeatureCache
from pix2pix_jax.runtime import meshes

# Prefix of a metric's name -> the program whose resize it uses, to bring images to the network's size.
RESIZES = {"": "pytorch-fid", "clean_": "clean-fid"}


class FeatureDistances:
    """Accumulates the features of two sets, batch by batch, and computes their distances for one kind of resize.

    FID and KID share one pass of the network, and targets whose features are in the cache need none.
    """

    def __init__(self, prefix: str, variables: dict, *, metrics: tuple[str, ...], mesh: Mesh, cache: FeatureCache):
        """Places the network on the mesh.

        Args:
          prefix: a key of RESIZES.
          variables: the Inception network's variables.
          metrics: all metrics to compute; those without the prefix are ignored.
          mesh: the mesh over whose `data` axis batches are spread.
          cache: known features of targets.
        """
        self._prefix, self._mesh, self._cache = prefix, mesh, cache
        self._wanted = {name for name in ("fid", "kid") if prefix + name in metrics}
        self._variables = meshes.replicate(variables, mesh)
        network = inception.Inception()

        def features(variables, pictures: jax.Array) -> jax.Array:
            return network.apply(variables, pictures if prefix else inception.resize_as_pytorch_fid(pictures))

        self._features = jax.jit(features, out_shardings=meshes.replicated(mesh))
        self.reset()

    def reset(self) -> None:
        """Forgets both sets; the cache keeps the targets' features."""
        self._statistics = [Statistics(inception.FEATURES), Statistics(inception.FEATURES)]
        self._rows: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])

    def add(self, output: np.ndarray, target: np.ndarray, count: int) -> None:
        """Adds the first `count` pairs of a batch, uint8 (N, H, W, 3) each; N must be the same in all batches."""
        known = self._cache.get(target[:count])
        if known is None:
            known = self._compute(target)[:count]
            self._cache.put(target[:count], known)
        for i, features in enumerate((self._compute(output)[:count], known)):
            if "fid" in self._wanted:
                self._statistics[i].add(features)
            if "kid" in self._wanted:
                self._rows[i].append(features)

    def _compute(self, pictures: np.ndarray) -> np.ndarray:
        sized = inception.resize_as_clean_fid(pictures) if self._prefix else pictures
        return np.asarray(self._features(self._variables, meshes.spread(sized, self._mesh)))

    def values(self) -> dict[str, float]:
        """Returns metric -> distance over all images since `reset`, at least two; saves the cache."""
        answer = {}
        if "fid" in self._wanted:
            ours, theirs = self._statistics
            answer[f"{self._prefix}fid"] = distances.frechet(ours.mean, ours.covariance, theirs.mean, theirs.covariance)
        if "kid" in self._wanted:
            answer[f"{self._prefix}kid"] = distances.kernel(*(np.concatenate(rows) for rows in self._rows))
        self._cache.save()
        return answer
