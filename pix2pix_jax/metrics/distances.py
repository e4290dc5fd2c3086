"""Frechet (FID) and kernel (KID) distances between two sets of features, on the host and in float64."""

import numpy as np

MIN_FRECHET = 10  # images in each set; published scores use 100 to 50,000
MIN_KERNEL = 2
SUBSETS, SUBSET_SIZE = 100, 1000  # KID's published ones
_SEED = 2020  # torch-fidelity draws its subsets with it


class Statistics:
    """Keeps the running mean and covariance of features that come in parts (merged as by Chan et al. 1979)."""

    _PART = 256  # rows are merged so many at a time, as one product of matrices is faster than many of vectors

    def __init__(self, size: int):
        self._count, self._mean, self._squares = 0, np.zeros(size), np.zeros((size, size))
        self._waiting: list[np.ndarray] = []

    def add(self, features: np.ndarray) -> None:
        """Adds features, floating (N, size)."""
        self._waiting.append(features)
        if sum(map(len, self._waiting)) >= self._PART:
            self._merge()

    def _merge(self) -> None:
        if not sum(map(len, self._waiting)):
            return
        part = np.concatenate(self._waiting).astype(np.float64)
        self._waiting = []
        mean, total = part.mean(0), self._count + len(part)
        centred, shift = part - mean, mean - self._mean
        self._squares += centred.T @ centred + np.outer(shift, shift) * (self._count * len(part) / total)
        self._mean = self._mean + shift * (len(part) / total)
        self._count = total

    @property
    def count(self) -> int:
        self._merge()
        return self._count

    @property
    def mean(self) -> np.ndarray:
        self._merge()
        return self._mean

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased sample covariance (size, size); needs at least two rows."""
        self._merge()
        return self._squares / (self._count - 1)


def frechet(mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other_covariance: np.ndarray) -> float:
    """Computes |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two Gaussians (Heusel et al. 2017).

    With C = A A^T, the trace of (C1 C2)^(1/2) is the sum of the singular values of A1^T A2. This avoids the root of a
    product of matrices, which loses half of the digits where there are fewer images than features.

    Args:
      mean, other_mean: the sets' means, (D,).
      covariance, other_covariance: their covariances, (D, D), symmetric and positive semidefinite up to rounding.
    """
    shift = mean - other_mean
    singular = np.linalg.svd(_factor(covariance).T @ _factor(other_covariance), compute_uv=False)
    return float(shift @ shift + np.trace(covariance) + np.trace(other_covariance) - 2 * singular.sum())


def _factor(covariance: np.ndarray) -> np.ndarray:
    """Returns A (D, R) with A A^T the covariance, where R is its rank."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    return vectors[:, kept] * np.sqrt(values[kept])


def kernel(features: np.ndarray, other: np.ndarray) -> float:
    """Computes the unbiased squared maximum mean discrepancy by the kernel (x.y / D + 1)^3 (Binkowski et al. 2018).

    As published, it is the mean over 100 subsets of at most 1,000 rows of each set, drawn as torch-fidelity draws them.
    Sets of equal size up to 1,000 are compared whole: the result then depends on no draw, and equals clean-fid's too.

    Args:
      features: one set, floating (N, D), N at least 2.
      other: the other set, floating (M, D), M at least 2.
    """
    features, other = features.astype(np.float64), other.astype(np.float64)
    size = min(len(features), len(other), SUBSET_SIZE)
    if size == len(features) == len(other):
        return _discrepancy(features, other)
    random = np.random.RandomState(_SEED)
    total = 0.0
    for _ in range(SUBSETS):
        chosen = features[random.choice(len(features), size, replace=False)]
        total += _discrepancy(chosen, other[random.choice(len(other), size, replace=False)])
    return total / SUBSETS


def _discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    count, size = x.shape
    within = sum((np.sum(k) - np.trace(k)) / (count * (count - 1)) for k in ((z @ z.T / size + 1) ** 3 for z in (x, y)))
    return float(within - 2 * ((x @ y.T / size + 1) ** 3).mean())
