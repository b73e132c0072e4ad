"""How well predictions agree with the metric: content by content, level by level.

All orders of the versions of one content are in the signs of the differences of their values. A
pair is in the right order if both sides have the same sign there; half the sum of a row of signs is
a centred rank, equal values sharing the mean of theirs; and Spearman's correlation is the cosine of
two vectors of centred ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ranksrgan.ranker.predictions import Predictions

#: Pairs of levels that are looked at at a time, 8 MB of differences: a content of 100 versions has
#: ten thousand, both ways round.
PAIRS_AT_A_TIME = 2**20


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
    signs = (order_signs(rows) for (rows,) in _some_at_a_time(values))
    return torch.cat([some.sum(dim=2, dtype=torch.float64) for some in signs]) / 2


def order_signs(values: Tensor, min_gap: float = 0.0) -> Tensor:
    """``(C, L, L)`` int8: the sign of ``values[c, l] - values[c, m]``; 0 if one of them is NaN.

    Args:
        values: ``(C, L)``.
        min_gap: values that differ by no more are a tie, with sign 0.
    """
    differences = _differences(values)
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
    levels = len(places)
    counts = torch.zeros(4, levels, levels, dtype=torch.int64)
    usual = order_signs(places[None])
    for truth, predicted in _some_at_a_time(predictions.truth, predictions.predicted):
        true = order_signs(truth, min_gap)
        ordered = true != 0
        right = ordered & (order_signs(predicted) == true)
        reverse = ordered & (true == -usual)
        for count, found in zip(counts, (ordered, right, reverse, reverse & right), strict=True):
            count += found.sum(dim=0)
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
    total, pairs = 0.0, 0
    for some_values, some_truth in _some_at_a_time(values, truth):
        gaps = _differences(some_values).abs()[order_signs(some_truth, min_gap) != 0]
        total, pairs = total + float(gaps.sum()), pairs + len(gaps)
    return total / pairs if pairs else None


def misplaced(predictions: Predictions, *, min_gap: float = 0.0) -> Tensor:
    """By how much each content is wrongly ordered: true differences of its wrong pairs, added up.

    Returns:
        ``(C,)`` in units of the metric, 0 where every pair is right.
    """
    amounts = []
    for truth, predicted in _some_at_a_time(predictions.truth, predictions.predicted):
        true = order_signs(truth, min_gap)
        wrong = (true > 0) & (order_signs(predicted) != true)
        amounts.append(_differences(truth).where(wrong, 0.0).sum(dim=(1, 2)))
    return torch.cat(amounts)


def _differences(values: Tensor) -> Tensor:
    """``(C, L, L)``: ``values[c, l] - values[c, m]``."""
    return values[:, :, None] - values[:, None, :]


def _some_at_a_time(*tables: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same rows of each ``(C, L)``, so many that they have `PAIRS_AT_A_TIME`, or one."""
    rows = max(1, PAIRS_AT_A_TIME // max(1, tables[0].shape[1] ** 2))
    return zip(*(torch.split(table, rows) for table in tables), strict=True)
