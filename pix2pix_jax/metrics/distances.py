"""Frechet (FID) and kernel (KID) distances between two sets of features, on the host and in float64."""

import numpy as np

MIN_FRECHET = 10  # images in each set; published scores use 100 to 50,000
MIN_KERNEL = 2
SUBSETS, SUBSET_SIZE = 100, 1000  # KID's published ones
_SEED = 2020  # torch-fidelity draws its subsets with it


def frechet(features: np.ndarray, other: np.ndarray) -> float:
    """Computes the Frechet distance of two sets of features, floating (N, D) and (M, D), N and M at least 2."""
    return frechet_of_gaussians(*_moments(features), *_moments(other))


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean (D,) and the unbiased covariance (D, D) of features (N, D)."""
    features = features.astype(np.float64)
    return features.mean(0), np.cov(features, rowvar=False)


def frechet_of_gaussians(
    mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other_covariance: np.ndarray
) -> float:
    """Computes |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two Gaussians (Heusel et al. 2017).

    With C = A A^T, the trace of (C1 C2)^(1/2) is the sum of the singular values of A1^T A2. This avoids the root of a
    product of matrices, which loses half of the digits where there are fewer images than features. Means are (D,),
    covariances (D, D), symmetric and positive semidefinite up to rounding.
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
    `features` and `other` are as for `frechet`.
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
