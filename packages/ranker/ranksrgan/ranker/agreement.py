"""How well predictions agree with the metric: content by content, level by level.

All orders of the versions of one content are in the signs of the differences of their values. A
pair is in the right order if both sides have the same sign there; half the sum of a row of signs is
a centred rank, equal values sharing the mean of theirs; and Spearman's correlation is the cosine of
two vectors of centred ranks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ranksrgan.ranker.predictions import Predictions


@dataclass(frozen=True)
class PairCounts:
    """Pairs of versions of one content whose true values have an order.

    Attributes:
        pairs: how many there are.
        right: those that the prediction puts in that order; a predicted tie is none.
        reversed: those whose true order contradicts the usual order of their levels.
        reversed_right: those of the reversed ones that the prediction puts in their true order.
    """

    pairs: int
    right: int
    reversed: int
    reversed_right: int

    @property
    def accuracy(self) -> float | None:
        """Share of the pairs that are right; None if there are none."""
        return self.right / self.pairs if self.pairs else None

    @property
    def reversed_accuracy(self) -> float | None:
        """Share of the reversed pairs that are right; None if there are none."""
        return self.reversed_right / self.reversed if self.reversed else None


@dataclass(frozen=True)
class LevelMean:
    """Mean values of one level over the contents that have it."""

    level: str
    images: int
    truth: float
    predicted: float


@dataclass(frozen=True)
class LevelPair:
    """The pairs of two levels; by the usual order, ``better`` is the better one."""

    better: str
    worse: str
    counts: PairCounts


def centred_ranks(values: Tensor) -> Tensor:
    """Ranks within each row of ``(C, L)``, less their mean; 0 for what is NaN."""
    return order_signs(values).sum(dim=2, dtype=torch.float64) / 2


def order_signs(values: Tensor, min_gap: float = 0.0) -> Tensor:
    """``(C, L, L)`` int8: the sign of ``values[c, l] - values[c, m]``; 0 if one of them is NaN.

    Args:
        values: ``(C, L)``.
        min_gap: values that differ by no more are a tie, with sign 0.
    """
    differences = values[:, :, None] - values[:, None, :]
    return ((differences > min_gap).to(torch.int8)) - (differences < -min_gap).to(torch.int8)


def content_correlations(predicted: Tensor, truth: Tensor) -> Tensor:
    """Spearman's correlation within each row of two ``(C, L)``.

    Returns:
        ``(C,)`` float64: 0 where all predictions are equal, NaN where all true values are.
    """
    a, b = centred_ranks(predicted), centred_ranks(truth)
    norms = (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()
    correlations = (a * b).sum(dim=1) / norms.where(norms > 0, 1.0)
    return correlations.where(b.any(dim=1), torch.nan)


def count_pairs(
    predictions: Predictions, places: Tensor, *, min_gap: float = 0.0
) -> dict[tuple[int, int], PairCounts]:
    """Pairs in their true and in the usual order, for each two levels.

    Args:
        predictions: C contents at L levels.
        places: ``(L,)``, the usual order, see `usual_order`.
        min_gap: true values that differ by no more have no order, and no part here.

    Returns:
        By the indices of the two levels, the one with the smaller usual values first.
    """
    true = order_signs(predictions.truth, min_gap)
    right = (true != 0) & (order_signs(predictions.predicted) == true)
    against = true == -order_signs(places[None])
    counts = torch.stack([true != 0, right, against & (true != 0), against & right]).sum(dim=1)
    bottom_up = torch.argsort(places).tolist()
    return {
        (low, high): PairCounts(*counts[:, low, high].tolist())
        for above, low in enumerate(bottom_up, start=1)
        for high in bottom_up[above:]
    }


def add_up(counts: dict[tuple[int, int], PairCounts]) -> PairCounts:
    """The counts of all pairs of levels together."""
    every = counts.values()
    return PairCounts(
        sum(one.pairs for one in every),
        sum(one.right for one in every),
        sum(one.reversed for one in every),
        sum(one.reversed_right for one in every),
    )


def level_pairs(
    predictions: Predictions, places: Tensor, *, min_gap: float = 0.0
) -> list[LevelPair]:
    """`count_pairs` by name, without the pairs of levels that no content has in an order."""
    rows = []
    for (low, high), counts in count_pairs(predictions, places, min_gap=min_gap).items():
        better, worse = (high, low) if predictions.higher_is_better else (low, high)
        if counts.pairs:
            rows.append(LevelPair(predictions.levels[better], predictions.levels[worse], counts))
    return rows


def level_means(predictions: Predictions) -> list[LevelMean]:
    """Mean values of each level, the best by the metric first: figure 20 of the paper.

    Contents may differ in the levels that they lack; then the means are over different contents.
    """
    images = predictions.present.sum(dim=0).tolist()
    truth = predictions.truth.nanmean(dim=0).tolist()
    predicted = predictions.predicted.nanmean(dim=0).tolist()
    rows = [
        LevelMean(*row)
        for row in zip(predictions.levels, images, truth, predicted, strict=True)
        if row[1]
    ]
    return sorted(rows, key=lambda row: row.truth, reverse=predictions.higher_is_better)


def mean_gap(values: Tensor, truth: Tensor, *, min_gap: float = 0.0) -> float | None:
    """E|s1 - s2| over the pairs of one content that have an order: table 5 of the paper.

    Args:
        values: ``(C, L)``, of a scorer or of the metric.
        truth: ``(C, L)``, of the metric.
        min_gap: true values that differ by no more have no order.

    Returns:
        In units of ``values``; None if no pair has an order.
    """
    gaps = (values[:, :, None] - values[:, None, :]).abs()[order_signs(truth, min_gap) != 0]
    return float(gaps.mean()) if len(gaps) else None


def misplaced(predictions: Predictions, *, min_gap: float = 0.0) -> Tensor:
    """By how much each content is wrongly ordered: true differences of its wrong pairs, added up.

    Returns:
        ``(C,)`` in units of the metric, 0 where every pair is right.
    """
    true = order_signs(predictions.truth, min_gap)
    wrong = (true > 0) & (order_signs(predictions.predicted) != true)
    gaps = predictions.truth[:, :, None] - predictions.truth[:, None, :]
    return gaps.where(wrong, 0.0).sum(dim=(1, 2))
