from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from ranksrgan.contracts.errors import InvalidDataset, UndefinedScore
from ranksrgan.contracts.pairs import PairSource, RankedContent
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.ranker import evaluate

Content = Callable[[list[float]], RankedContent]
Source = Callable[[list[RankedContent]], PairSource]


class Recited:
    """A scorer that gives the numbers it is told, batch after batch."""

    info = ScorerInfo("recited", "1", False, False, False, 1)

    def __init__(self, *batches: list[float]) -> None:
        self.batches = list(batches)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        values = self.batches.pop(0)
        assert len(values) == len(images)
        return torch.tensor(values, dtype=torch.float64)


def test_numbers_by_hand(content_of: Content, source_of: Source) -> None:
    source = source_of([content_of([1, 2, 3]), content_of([5, 5, 5]), content_of([4, 6, 6])])
    found = evaluate(Recited([10, 30, 20], [1, 2, 3], [7, 8, 7]), source)
    # first content: ranks 1 2 3 against 1 3 2 -> 1 - 6 * 2 / (3 * 8) = 0.5; pairs 2 of 3
    # third: ranks 1 2.5 2.5 against 1.5 3 1.5 -> 0.5; pairs (4,6) right, (4,6) tied, (6,6) none
    assert found.srocc_per_content == pytest.approx(0.5)
    assert found.pair_accuracy == pytest.approx(3 / 5)
    truth = [1, 2, 3, 5, 5, 5, 4, 6, 6]
    predicted = [10, 30, 20, 1, 2, 3, 7, 8, 7]
    assert found.srocc == pytest.approx(spearmanr(truth, predicted).statistic, abs=1e-12)
    assert (found.images, found.contents, found.skipped) == (9, 3, 1)


def test_a_perfect_scorer_and_its_opposite(content_of: Content, source_of: Source) -> None:
    source = source_of([content_of([1, 2, 4]), content_of([3, 7, 5])])
    best = evaluate(Recited([1, 2, 4], [3, 7, 5]), source)
    assert (best.srocc, best.srocc_per_content, best.pair_accuracy) == (1, 1, 1)
    worst = evaluate(Recited([-1, -2, -4], [-3, -7, -5]), source)
    assert (worst.srocc, worst.srocc_per_content, worst.pair_accuracy) == (-1, -1, 0)
    assert best.selection > worst.selection


def test_a_constant_scorer_has_ordered_nothing(content_of: Content, source_of: Source) -> None:
    found = evaluate(Recited([1, 1], [1, 1]), source_of([content_of([1, 2]), content_of([3, 4])]))
    assert (found.srocc, found.srocc_per_content, found.pair_accuracy) == (0, 0, 0)


def test_single_versions_leave_the_global_correlation(
    content_of: Content, source_of: Source
) -> None:
    found = evaluate(Recited([1], [2], [3]), source_of([content_of([s]) for s in (1.0, 2.0, 3.0)]))
    assert found.srocc == 1
    assert found.srocc_per_content is None
    assert found.pair_accuracy is None
    assert found.skipped == 3
    assert found.selection == (1, 1)


def test_nan_in_the_labels(content_of: Content, source_of: Source) -> None:
    with pytest.raises(InvalidDataset, match="noise has a score that is not finite"):
        evaluate(Recited([1, 2]), source_of([content_of([1, float("nan")])]))


def test_nan_in_the_predictions(content_of: Content, source_of: Source) -> None:
    with pytest.raises(UndefinedScore, match="noise"):
        evaluate(Recited([1, float("nan")]), source_of([content_of([1, 2])]))


def test_nothing_to_order(content_of: Content, source_of: Source) -> None:
    with pytest.raises(UndefinedScore, match="equal"):
        evaluate(Recited([1, 2]), source_of([content_of([3, 3])]))
    with pytest.raises(InvalidDataset, match="no contents"):
        evaluate(Recited(), source_of([]))
