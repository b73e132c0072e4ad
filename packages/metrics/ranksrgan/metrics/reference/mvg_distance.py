"""`mvg_distance` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def mvg_distance(features: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Distance between a Gaussian and that of the features of each image.

    Args:
        features: ``(N, P, K)`` float64, NaN where a row has a gap.
        mean: ``(K,)`` float64.
        covariance: ``(K, K)`` float64, symmetric and positive definite.

    Returns:
        ``(N,)`` float64; NaN where fewer than two rows have no gap, or the mean of the two
        covariances is not positive definite.
    """
    distances = [_distance(rows, mean, covariance) for rows in features]
    return torch.stack(distances) if distances else features.new_empty(0)


def _distance(rows: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    whole = rows.isfinite().all(dim=1, keepdim=True)
    count = whole.sum()
    centre = torch.where(whole, rows, 0.0).sum(dim=0) / count.clamp(min=1)
    centred = torch.where(whole, rows - centre, 0.0)
    # A plain sum of outer products: BLAS would order it by the number of threads.
    own = (centred[:, :, None] * centred[:, None, :]).sum(dim=0) / (count - 1).clamp(min=1)
    present = rows.isnan().logical_not()
    own_mean = torch.where(present, rows, 0.0).sum(dim=0) / present.sum(dim=0).clamp(min=1)
    factor, failed = torch.linalg.cholesky_ex((covariance + own) / 2)
    whitened = torch.linalg.solve_triangular(factor, (mean - own_mean)[:, None], upper=False)
    undefined = (count < 2) | (failed != 0)
    return torch.where(undefined, torch.nan, whitened.square().sum().sqrt())
