from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, pearsonr, spearmanr
from torch import Tensor

from ranksrgan.contracts.errors import InvalidDataset, InvalidInput, UndefinedScore
from ranksrgan.contracts.pairs import PairSource, RankedContent
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.ranker import RankEvaluation, evaluate
from ranksrgan.ranker.predictions import Predictions

Content = Callable[[list[float]], RankedContent]
Source = Callable[..., PairSource]

NAN = math.nan


class Recited:
    """A scorer that gives the numbers it is told, image after image."""

    def __init__(self, *contents: list[float], higher_is_better: bool = False) -> None:
        self.info = ScorerInfo("recited", "1", higher_is_better, False, False, 1)
        self.values = [value for content in contents for value in content]

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        values, self.values = self.values[: len(images)], self.values[len(images) :]
        return torch.tensor(values, dtype=torch.float64)


def of(
    truth: list[list[float]], predicted: list[list[float]], *, min_gap: float = 0.0
) -> RankEvaluation:
    values = torch.tensor(truth, dtype=torch.float64)
    scores = torch.tensor(predicted, dtype=torch.float64)
    levels = tuple(f"level{i}" for i in range(values.shape[1]))
    contents = tuple(f"content{i}" for i in range(len(values)))
    return RankEvaluation.of(
        Predictions("niqe", False, levels, contents, values, scores), min_gap=min_gap
    )


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
    assert found.krocc == pytest.approx(kendalltau(truth, predicted).statistic, abs=1e-12)
    assert found.plcc == pytest.approx(pearsonr(truth, predicted).statistic, abs=1e-12)
    gap = (20 + 10 + 10 + 1 + 0) / 5
    assert found.gap == pytest.approx(gap)
    deviation = torch.tensor(predicted, dtype=torch.float64).std(correction=0)
    assert found.normalised_gap == pytest.approx(gap / float(deviation))
    # level0 < level1 < level2: 1 with the first content, (0.5 + 0.5) / 1 = sqrt(3)/2 with the third
    assert found.usual_srocc_per_content == pytest.approx((1 + math.sqrt(3) / 2) / 2)
    assert (found.pairs, found.reversed_pairs, found.reversed_accuracy) == (5, 0, None)
    assert (found.images, found.contents, found.skipped) == (9, 3, 1)


USUAL = [[1, 2, 3], [11, 12, 13], [21, 22, 23]]
REVERSED = [[2, 1, 3], [11, 13, 12]]


def test_a_scorer_that_learned_the_levels() -> None:
    found = of(USUAL + REVERSED, 5 * [[1, 2, 3]])
    assert found.srocc_per_content == found.usual_srocc_per_content == pytest.approx(4 / 5)
    assert (found.pairs, found.reversed_pairs) == (15, 2)
    assert found.pair_accuracy == pytest.approx(13 / 15)
    assert found.reversed_accuracy == 0


def test_a_scorer_that_learned_the_metric() -> None:
    # One reversed pair found, the other missed.
    found = of(USUAL + REVERSED, [*USUAL, [2, 1, 3], [11, 12, 13]])
    assert found.srocc_per_content == pytest.approx((4 + 1 / 2) / 5)
    assert found.usual_srocc_per_content == pytest.approx(4 / 5)
    assert found.pair_accuracy == pytest.approx(14 / 15)
    assert found.reversed_accuracy == 0.5
    perfect = of(USUAL + REVERSED, USUAL + REVERSED)
    assert (perfect.srocc_per_content, perfect.reversed_accuracy) == (1, 1)
    assert (perfect.srocc, perfect.krocc, perfect.plcc) == pytest.approx((1, 1, 1))


def test_the_normalised_gap_knows_no_scale() -> None:
    truth = USUAL + REVERSED
    scores = [[0.1, 0.4, 0.3], [2, 1, 5], [1, 1, 1], [0, 3, 4], [2, 1, 1.5]]
    found, scaled = of(truth, scores), of(truth, [[7 * s - 3 for s in row] for row in scores])
    assert found.gap is not None
    assert scaled.gap == pytest.approx(7 * found.gap)
    assert scaled.normalised_gap == pytest.approx(found.normalised_gap)


def test_pairs_within_the_gap_have_no_part() -> None:
    truth, predicted = [[1, 1.5, 3], [1.5, 1, 9]], [[2, 1, 3], [1, 2, 3]]
    every = of(truth, predicted)
    assert (every.pairs, every.pair_accuracy) == (6, 4 / 6)
    far = of(truth, predicted, min_gap=0.5)
    assert (far.pairs, far.pair_accuracy, far.reversed_pairs) == (4, 1, 0)
    assert (far.srocc, far.srocc_per_content) == (every.srocc, every.srocc_per_content)
    none = of(truth, predicted, min_gap=100)
    assert (none.pairs, none.pair_accuracy, none.gap, none.normalised_gap) == (0, None, None, None)
    for gap in (-1, NAN):
        with pytest.raises(InvalidInput, match="min_gap"):
            of(truth, predicted, min_gap=gap)


def test_contents_that_lack_levels() -> None:
    found = of([[1, 2, 3], [4, NAN, 5], [NAN, NAN, 6]], [[1, 2, 3], [5, NAN, 4], [NAN, NAN, 6]])
    assert (found.images, found.contents, found.skipped, found.pairs) == (6, 3, 1, 4)
    assert found.srocc_per_content == 0
    assert found.pair_accuracy == 3 / 4
    assert found.srocc == pytest.approx(
        spearmanr([1, 2, 3, 4, 5, 6], [1, 2, 3, 5, 4, 6]).statistic, abs=1e-12
    )


def test_a_perfect_scorer_and_its_opposite(content_of: Content, source_of: Source) -> None:
    source = source_of([content_of([1, 2, 4]), content_of([3, 7, 5])])
    best = evaluate(Recited([1, 2, 4], [3, 7, 5]), source)
    assert (best.srocc, best.srocc_per_content, best.pair_accuracy) == (1, 1, 1)
    worst = evaluate(Recited([-1, -2, -4], [-3, -7, -5]), source)
    assert (worst.srocc, worst.srocc_per_content, worst.pair_accuracy) == (-1, -1, 0)
    assert best.selection > worst.selection


def test_a_scorer_of_the_other_direction(content_of: Content, source_of: Source) -> None:
    source = source_of([content_of([1, 2, 4]), content_of([3, 7, 5])])
    found = evaluate(Recited([-1, -2, -4], [-3, -7, -5], higher_is_better=True), source)
    assert (found.srocc, found.srocc_per_content, found.pair_accuracy) == (1, 1, 1)


def test_a_constant_scorer_has_ordered_nothing(content_of: Content, source_of: Source) -> None:
    found = evaluate(Recited([1, 1], [1, 1]), source_of([content_of([1, 2]), content_of([3, 4])]))
    assert (found.srocc, found.srocc_per_content, found.pair_accuracy) == (0, 0, 0)
    assert (found.krocc, found.plcc, found.gap, found.normalised_gap) == (0, 0, 0, 0)


def test_single_versions_leave_the_global_correlation(
    content_of: Content, source_of: Source
) -> None:
    found = evaluate(Recited([1], [2], [3]), source_of([content_of([s]) for s in (1.0, 2.0, 3.0)]))
    assert found.srocc == 1
    assert found.srocc_per_content is None
    assert found.usual_srocc_per_content is None
    assert found.pair_accuracy is None
    assert found.skipped == 3
    assert found.selection == (1, 1)


def test_survives_json() -> None:
    for found in (of(USUAL + REVERSED, USUAL + REVERSED), of([[1], [2]], [[1], [2]])):
        text = json.dumps(asdict(found), allow_nan=False)
        assert RankEvaluation(**json.loads(text)) == found


def test_another_metric(source_of: Source) -> None:
    scores = torch.tensor([1.0, 2, 3], dtype=torch.float64)
    further = {"mos": torch.tensor([5.0, 7, 6], dtype=torch.float64)}
    content = RankedContent("c", ("a", "b", "c"), torch.rand(3, 3, 8, 8), scores, further)
    source = source_of([content], further={"mos": True})
    found = evaluate(Recited([3, 2, 1]), source, metric="mos")
    assert found.srocc == found.srocc_per_content == pytest.approx(0.5)
    assert evaluate(Recited([3, 2, 1]), source).srocc == -1


def test_infinite_values_have_a_rank_and_no_distance() -> None:
    # PSNR, with the original itself among the levels.
    truth = [[math.inf, 30.0, 20.0], [math.inf, 25.0, 28.0], [math.inf, 31.0, math.inf]]
    scores = [[9.0, 5.0, 6.0], [8.0, 4.0, 5.0], [7.0, 3.0, 2.0]]
    found, psnr = of(truth, scores), of(scores, truth)
    finite = [[min(value, 1000.0) for value in row] for row in truth]
    alike, psnr_alike = of(finite, scores), of(scores, finite)
    assert found == replace(alike, plcc=None)
    assert found.srocc == pytest.approx(
        spearmanr(np.ravel(finite), np.ravel(scores)).statistic, abs=1e-12
    )
    assert found.pairs == 8
    assert found.pair_accuracy == pytest.approx(6 / 8)
    assert psnr == replace(psnr_alike, plcc=None, gap=None, normalised_gap=None)
    json.dumps([asdict(found), asdict(psnr)], allow_nan=False)


def test_nan_in_the_labels(content_of: Content, source_of: Source) -> None:
    with pytest.raises(
        InvalidDataset, match="noise has at level level1 a value of blur that is not"
    ):
        evaluate(Recited([1, 2]), source_of([content_of([1, NAN])]))


def test_nan_in_the_predictions(content_of: Content, source_of: Source) -> None:
    with pytest.raises(UndefinedScore, match="recited gives noise at level level1 a score that"):
        evaluate(Recited([1, NAN]), source_of([content_of([1, 2])]))


def test_nothing_to_order(content_of: Content, source_of: Source) -> None:
    with pytest.raises(UndefinedScore, match="equal"):
        evaluate(Recited([1, 2]), source_of([content_of([3, 3])]))
    with pytest.raises(InvalidDataset, match="no contents"):
        evaluate(Recited(), source_of([]))
