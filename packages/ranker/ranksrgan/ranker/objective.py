"""The weighted sum of losses that a training minimises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ranksrgan.ranker import loss, loss_correlation
from ranksrgan.ranker.config import LossName, TrainConfig


def objective(config: TrainConfig, scores: Tensor, values: Tensor, group: Tensor) -> Tensor:
    """What a batch costs: the mean over the heads of the weighted sum of losses.

    Args:
        config: losses, their weights and settings.
        scores: ``(N, heads)`` float32.
        values: ``(N, heads)``, of the metric of each head.
        group: ``(N,)`` int64: which content an image is a version of.

    Returns:
        A scalar.
    """
    costs = [_of_head(config, *head, group) for head in zip(scores.T, values.T, strict=True)]
    return torch.stack(costs).mean()


def _of_head(config: TrainConfig, scores: Tensor, values: Tensor, group: Tensor) -> Tensor:
    if config.as_published:
        return loss.margin_ranking_as_published(scores, values, group, config.margin)
    terms: dict[LossName, Callable[[], Tensor]] = {
        "margin": lambda: loss.margin_ranking(scores, values, group, config.margin, config.min_gap),
        "ranknet": lambda: loss.ranknet(scores, values, group, config.min_gap),
        "listwise": lambda: loss.listwise(scores, values, group),
        "bradley_terry": lambda: loss.bradley_terry(
            scores, values, group, config.scale, config.across
        ),
        "plcc": lambda: loss_correlation.plcc(scores, values, group),
        "srocc": lambda: loss_correlation.soft_srocc(scores, values, group),
        "regression": lambda: loss.regression(scores, values, group),
        "magnitude": lambda: loss.magnitude(scores),
    }
    # In the order above, whatever that of the configuration: sums and gradients hang on it.
    weights = config.losses
    weighted = [weights[name] * term() for name, term in terms.items() if weights.get(name)]
    return torch.stack(weighted).sum()
