"""What the Ranker can minimise when it learns to correlate with the metric over a whole batch.

Both losses take ``scores``, ``values`` and ``group`` as those in ``loss`` do, and look at all
images of the batch alike, whichever content they show. They are Huawei Noah's Ark's in the NTIRE
2021 challenge report on perceptual image quality assessment; the differentiable rank, which the
report does not describe, is our choice: the common one of pairwise sigmoids, with a temperature of
0.05 deviations. So is what keeps both finite where scores or values are equal. They want batches of
8 or more.

Neither minds an offset or a unit of the scores, so they leave the unit free as well. Scores whose
deviation is far below 0.001 count as constant: the loss then goes to 1 instead of to 0/0, its
gradient stays finite, and what makes scores ever smaller, such as weight decay or
`ranksrgan.ranker.loss.magnitude`, meets resistance.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ranksrgan.ranker.loss import check_batch

#: Of scores that count as different; see the module's head.
LEAST_DEVIATION = 1e-3


def plcc(scores: Tensor, values: Tensor, group: Tensor) -> Tensor:
    """1 minus Pearson's correlation of scores and values: 0 to 2, and 1 where all are equal.

    Raises:
        InvalidInput: shapes or types are others.
    """
    check_batch(scores, values, group)
    target = _centred(values.double())
    least = torch.finfo(target.dtype).tiny  # equal values are centred to 0, or next to it
    target = (target / target.square().mean().sqrt().clamp(min=least)).to(scores.dtype)
    return 1 - (_centred(scores) * target).mean() / _deviation(scores)


def soft_srocc(scores: Tensor, values: Tensor, group: Tensor, temperature: float = 0.05) -> Tensor:
    """1 minus Spearman's correlation of values and scores, the latter by `soft_ranks`: 0 to 2.

    With a the soft and b the true ranks it is the mean of (a - b)² over var(a) + var(b). Of ranks
    without ties the two variances are equal, and that is exactly 1 - Spearman's coefficient; unlike
    cov(a, b) over the product of deviations it is defined, as 1, where all scores are equal.

    Args:
        scores, values, group: see the module's head.
        temperature: see `soft_ranks`.

    Raises:
        InvalidInput: shapes or types are others.
    """
    check_batch(scores, values, group)
    a = _centred(soft_ranks(scores, temperature))
    b = _centred(_ranks(values).to(scores.dtype))
    variances = a.square().mean() + b.square().mean()
    return 1 - 2 * (a * b).mean() / variances.clamp(min=torch.finfo(scores.dtype).tiny)


def determination(scores: Tensor, values: Tensor, group: Tensor) -> Tensor:
    """1 minus the square of Pearson's correlation: 0 to 1, and 1 where all scores are equal.

    MACS's in the same challenge. It does not see the sign of the correlation: something beside it
    has to say which direction is wanted.

    Raises:
        InvalidInput: shapes or types are others.
    """
    return 1 - (1 - plcc(scores, values, group)).square()


def rank_error(
    scores: Tensor,
    values: Tensor,
    group: Tensor,
    ranks: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Mean squared difference of the ranks of scores and values, as places 1 to N: MACS's.

    Args:
        scores, values, group: see the module's head.
        ranks: makes differentiable ranks of ``(N,)`` scores; None for `soft_ranks`.

    Raises:
        InvalidInput: shapes or types are others.
    """
    check_batch(scores, values, group)
    found = soft_ranks(scores) if ranks is None else ranks(scores)
    return (found - _ranks(values).to(scores.dtype)).square().mean()


def soft_ranks(scores: Tensor, temperature: float = 0.05) -> Tensor:
    """Differentiable ranks 1 to N: ``1/2 + sum over j of sigmoid((s_i - s_j) / tau)``.

    Args:
        scores: ``(N,)``.
        temperature: tau in standard deviations of the scores. At 0.05, ranks of 16 normal samples
            are off by 0.18 on average, and Spearman's coefficient by 0.01.

    Returns:
        ``(N,)`` in the type of ``scores``, with a gradient; N / 2 + 1 / 2 for each of equal scores.
    """
    tau = temperature * _deviation(scores)
    return torch.sigmoid((scores[:, None] - scores[None, :]) / tau).sum(1) + 0.5


def _ranks(values: Tensor) -> Tensor:
    """Ranks 1 to N; equal values share their mean rank."""
    above = values[:, None] > values[None, :]
    equal = values[:, None] == values[None, :]
    return above.sum(1) + 0.5 * equal.sum(1) + 0.5


def _centred(numbers: Tensor) -> Tensor:
    return numbers - numbers.mean()


def _deviation(scores: Tensor) -> Tensor:
    """The standard deviation, held above 0 smoothly."""
    return (_centred(scores).square().mean() + LEAST_DEVIATION**2).sqrt()
