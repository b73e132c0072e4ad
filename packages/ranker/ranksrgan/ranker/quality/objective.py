"""The weighted sum of losses that a quality model minimises over a batch.

regression         mean squared error of the opinion, in standard deviations of all opinions
l1, smooth_l1      mean absolute error of it, and the same rounded off below 1
plcc, srocc        1 minus Pearson's and, with soft ranks, Spearman's correlation (Huawei)
bradley_terry      of pairs across references (Huawei)
determination      1 minus the square of Pearson's correlation (MACS)
ranks              squared difference of ranks (MACS), soft ones or those of a learned sorter
relative_distance  of all differences of two scores and of their opinions (Yahaha)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.ranker import loss, loss_correlation

#: In the order in which they are summed up.
QualityLoss = Literal[
    "regression",
    "l1",
    "smooth_l1",
    "plcc",
    "srocc",
    "bradley_terry",
    "determination",
    "ranks",
    "relative_distance",
]


def objective(
    losses: Mapping[QualityLoss, float],
    scores: Tensor,
    values: Tensor,
    group: Tensor,
    *,
    scale: float,
    ranks: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """What a batch costs.

    Args:
        losses: the weight of each; see the module's head.
        scores: ``(N,)``.
        values: ``(N,)``: the opinions, standardised, turned if less is better for the model.
        group: ``(N,)`` int64: whose reference.
        scale: of ``bradley_terry``: the gap of values at which the odds are e to one.
        ranks: of ``ranks``; None for soft ranks.

    Returns:
        A scalar.
    """
    terms: dict[QualityLoss, Callable[[], Tensor]] = {
        "regression": lambda: F.mse_loss(scores, values),
        "l1": lambda: F.l1_loss(scores, values),
        "smooth_l1": lambda: F.smooth_l1_loss(scores, values),
        "plcc": lambda: loss_correlation.plcc(scores, values, group),
        "srocc": lambda: loss_correlation.soft_srocc(scores, values, group),
        "bradley_terry": lambda: loss.bradley_terry(scores, values, group, scale, across=True),
        "determination": lambda: loss_correlation.determination(scores, values, group),
        "ranks": lambda: loss_correlation.rank_error(scores, values, group, ranks),
        "relative_distance": lambda: relative_distance(scores, values),
    }
    # In the order above, whatever that of the configuration: sums and gradients hang on it.
    weighted = [losses[name] * term() for name, term in terms.items() if losses.get(name)]
    return torch.stack(weighted).sum()


def relative_distance(scores: Tensor, values: Tensor) -> Tensor:
    """Mean over pairs of ``|(v_i - v_j) - (s_i - s_j)|``: 0 where they differ by a constant.

    Of team Yahaha in NTIRE 2021, whose sum over pairs is a mean here.

    Args:
        scores, values: ``(N,)``.
    """
    error = values - scores
    first, second = torch.triu_indices(len(error), len(error), 1, device=error.device)
    return (error[first] - error[second]).abs().sum() / max(1, len(first))
