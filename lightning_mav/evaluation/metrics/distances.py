"""Distances between two sets of features, in double precision.

The Frechet distance between two Gaussians (Dowson and Landau 1982; Heusel et al. 2017, FID; Unterthiner et
al. 2018, FVD) is ``|m_a - m_b|^2 + tr(A) + tr(B) - 2 tr((A B)^(1/2))``. No square root of a matrix is needed
for its last term: with factors ``A = F F^T`` and ``B = G G^T`` it is twice the sum of the singular values of
``F^T G``. For samples, the centred features are such factors, so few samples give a small matrix.
"""

import torch
from torch import Tensor

CHUNK_ROWS = 1024  # rows of a kernel matrix that are computed at once


def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """Returns the squared Frechet distance between two Gaussians, 0 or more.

    Args:
        mean_a: Mean ``(D,)``.
        cov_a: Covariance ``(D, D)``, symmetric; it may be singular.
        mean_b: Mean of the other.
        cov_b: Covariance of the other.

    Raises:
        ValueError: If a value is not finite or the shapes differ.

    Examples:
        >>> mean, covariance = torch.zeros(4), torch.eye(4)
        >>> frechet_distance(mean, covariance, mean + 3, covariance)  # 4 times 3 squared
        36.0
    """
    mean_a, cov_a, mean_b, cov_b = (x.double() for x in (mean_a, cov_a, mean_b, cov_b))
    if not (mean_a.shape == mean_b.shape and cov_a.shape == cov_b.shape == 2 * mean_a.shape):
        shapes = [tuple(x.shape) for x in (mean_a, cov_a, mean_b, cov_b)]
        raise ValueError(f"means must be (D,) and covariances (D, D), got {shapes}")
    _require_finite(mean_a, cov_a, mean_b, cov_b)
    root = torch.linalg.svdvals(_factor(cov_a).T @ _factor(cov_b)).sum()  # tr((A B)^(1/2))
    return _combine(mean_a, mean_b, cov_a.trace() + cov_b.trace(), root)


def frechet_distance_of(real: Tensor, generated: Tensor) -> float:
    """Returns the squared Frechet distance between Gaussians fitted to two sets of features.

    Covariances have the divisor ``N - 1``. With few samples none is formed, which is exact and faster.

    Args:
        real: Features ``(N, D)``.
        generated: Features ``(M, D)``.

    Raises:
        ValueError: If there are fewer than two of either, or a value is not finite.
    """
    real, generated = _checked(real), _checked(generated)
    means = real.mean(dim=0), generated.mean(dim=0)
    if min(len(real), len(generated)) > real.shape[1]:
        return frechet_distance(means[0], _covariance(real), means[1], _covariance(generated))
    a, b = ((x - mean) / (len(x) - 1) ** 0.5 for x, mean in zip((real, generated), means, strict=True))
    traces = a.square().sum() + b.square().sum()
    # With more rows than columns, R of the QR decomposition gives the same singular values.
    a, b = (torch.linalg.qr(x, mode="r").R if len(x) > x.shape[1] else x for x in (a, b))
    return _combine(*means, traces, torch.linalg.svdvals(a @ b.T).sum())


def kernel_distance(real: Tensor, generated: Tensor) -> float:
    """Returns the squared maximum mean discrepancy, unbiased, so that it may be a little below 0.

    The kernel is ``(x . y / D + 1)^3`` as in KID (Binkowski et al. 2018); all samples are used, no subsets.

    Args:
        real: Features ``(N, D)``.
        generated: Features ``(M, D)``.

    Raises:
        ValueError: If there are fewer than two of either, or a value is not finite.
    """
    real, generated = _checked(real), _checked(generated)
    within = sum(
        (_kernel_sum(x, x) - _kernel(x.square().sum(dim=1), x.shape[1]).sum()) / (len(x) * (len(x) - 1))
        for x in (real, generated)
    )
    between = _kernel_sum(real, generated) / (len(real) * len(generated))
    return float(within - 2 * between)


def _covariance(features: Tensor) -> Tensor:
    centred = features - features.mean(dim=0)
    return centred.T @ centred / (len(features) - 1)


def _kernel(products: Tensor, num_features: int) -> Tensor:
    return (products / num_features + 1) ** 3


def _kernel_sum(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([_kernel(rows @ y.T, x.shape[1]).sum() for rows in x.split(CHUNK_ROWS)]).sum()


def _factor(cov: Tensor) -> Tensor:
    """Returns ``F`` of ``(D, rank)`` with ``cov = F F^T``, of a positive semi-definite matrix."""
    rounding = len(cov) * torch.finfo(cov.dtype).eps
    factor, failed = torch.linalg.cholesky_ex(cov)
    pivots = factor.diagonal().square()
    if not failed and pivots.min() > rounding * pivots.max():
        return factor
    # For a singular matrix: eigenvalues that are 0 except for rounding are dropped, as their roots add up.
    values, vectors = torch.linalg.eigh(cov)
    kept = values > rounding * values[-1]
    return vectors[:, kept] * values[kept].sqrt()


def _combine(mean_a: Tensor, mean_b: Tensor, traces: Tensor, root: Tensor) -> float:
    # Rounding may bring the distance of a set to itself below 0.
    return max(0.0, float((mean_a - mean_b).square().sum() + traces - 2 * root))


def _checked(features: Tensor) -> Tensor:
    features = features.double()
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features must be (N, D) of two samples or more, got {tuple(features.shape)}")
    _require_finite(features)
    return features


def _require_finite(*tensors: Tensor) -> None:
    if not all(tensor.isfinite().all() for tensor in tensors):
        raise ValueError("features hold values that are not finite")
