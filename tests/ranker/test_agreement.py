from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr
from torch import Tensor

from ranksrgan.ranker import agreement
from ranksrgan.ranker.agreement import (
    PairCounts,
    add_up,
    centred_ranks,
    content_correlations,
    count_pairs,
    level_means,
    level_pairs,
    mean_gap,
    misplaced,
    order_signs,
)
from ranksrgan.ranker.predictions import Predictions

NAN = math.nan


def predictions(
    truth: list[list[float]], predicted: list[list[float]], *, higher_is_better: bool = False
) -> Predictions:
    values = torch.tensor(truth, dtype=torch.float64)
    scores = torch.tensor(predicted, dtype=torch.float64)
    return Predictions(
        metric="niqe",
        higher_is_better=higher_is_better,
        levels=tuple("abcdefgh"[: values.shape[1]]),
        contents=tuple(f"c{i}" for i in range(len(values))),
        truth=values,
        predicted=torch.where(values.isnan(), torch.nan, scores),
    )


BOTH = st.integers(1, 4).flatmap(
    lambda levels: st.lists(
        st.lists(
            st.tuples(st.one_of(st.integers(0, 3), st.just(NAN)), st.integers(0, 3)),
            min_size=levels,
            max_size=levels,
        ),
        min_size=1,
        max_size=4,
    )
)


def apart(rows: list[list[tuple[float, float]]]) -> Predictions:
    return predictions([[t for t, _ in row] for row in rows], [[p for _, p in row] for row in rows])


@given(BOTH)
@settings(max_examples=80)
def test_correlations_are_those_of_scipy(rows: list[list[tuple[float, float]]]) -> None:
    found = apart(rows)
    result = content_correlations(found.predicted, found.truth)
    for row, correlation in zip(rows, result.tolist(), strict=True):
        present = [(t, p) for t, p in row if not math.isnan(t)]
        truth, predicted = [t for t, _ in present], [p for _, p in present]
        if len(set(truth)) < 2:
            assert math.isnan(correlation)
        elif len(set(predicted)) < 2:
            assert correlation == 0
        else:
            assert correlation == pytest.approx(spearmanr(truth, predicted).statistic, abs=1e-12)


def test_ranks() -> None:
    values = torch.tensor([[3.0, 1, 3, 7], [5, NAN, 4, NAN], [NAN, NAN, NAN, 2]])
    assert centred_ranks(values).tolist() == [
        (rankdata([3, 1, 3, 7]) - 2.5).tolist(),
        [0.5, 0, -0.5, 0],
        [0, 0, 0, 0],
    ]


def test_signs_of_a_gap() -> None:
    signs = order_signs(torch.tensor([[1.0, 1.5, 3, NAN]]), min_gap=0.5)
    assert signs[0].tolist() == [[0, 0, -1, 0], [0, 0, -1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]


def brute_force(found: Predictions, places: Tensor, min_gap: float) -> PairCounts:
    pairs = right = against = against_right = 0
    for truth, predicted in zip(found.truth.tolist(), found.predicted.tolist(), strict=True):
        for i, j in combinations(range(len(truth)), 2):
            gap = truth[i] - truth[j]
            if math.isnan(gap) or abs(gap) <= min_gap:
                continue
            good = (predicted[i] - predicted[j]) * gap > 0
            unusual = float(places[i] - places[j]) * gap < 0
            pairs += 1
            right += good
            against += unusual
            against_right += good and unusual
    return PairCounts(pairs, right, against, against_right)


@given(BOTH, st.sampled_from([0.0, 1.0]), st.randoms(use_true_random=False))
@settings(max_examples=80)
def test_pairs_by_brute_force(
    rows: list[list[tuple[float, float]]], min_gap: float, random: object
) -> None:
    found = apart(rows)
    places = list(range(len(rows[0])))
    random.shuffle(places)  # type: ignore[attr-defined]
    order = torch.tensor(places, dtype=torch.float64)
    counts = count_pairs(found, order, min_gap=min_gap)
    assert add_up(counts) == brute_force(found, order, min_gap)
    assert all(places[low] < places[high] for low, high in counts)
    for low, high in counts:
        two = predictions(
            found.truth[:, [low, high]].tolist(), found.predicted[:, [low, high]].tolist()
        )
        assert counts[low, high] == brute_force(two, torch.tensor([0.0, 1.0]), min_gap)


def test_shares() -> None:
    counts = PairCounts(pairs=8, right=6, reversed=4, reversed_right=1)
    assert (counts.accuracy, counts.reversed_accuracy) == (0.75, 0.25)
    nothing = PairCounts(0, 0, 0, 0)
    assert nothing.accuracy is None
    assert nothing.reversed_accuracy is None


@pytest.mark.parametrize("higher_is_better", [False, True])
def test_pairs_of_levels_by_name(higher_is_better: bool) -> None:
    found = predictions(
        [[1, 2, 3], [2, 1, NAN], [1, 4, NAN]],
        [[5, 6, 7], [5, 6, 0], [6, 5, 0]],
        higher_is_better=higher_is_better,
    )
    usual = torch.tensor([0.0, 1.0, 2.0])
    rows = {(row.better, row.worse): row.counts for row in level_pairs(found, usual)}
    expected = {
        ("a", "b"): PairCounts(pairs=3, right=1, reversed=1, reversed_right=0),
        ("a", "c"): PairCounts(1, 1, 0, 0),
        ("b", "c"): PairCounts(1, 1, 0, 0),
    }
    if higher_is_better:
        expected = {(low, high): counts for (high, low), counts in expected.items()}
    assert rows == expected
    # Levels that never meet, or never with an order, have no line.
    apart = predictions([[1, NAN, 2], [NAN, 1, 1]], [[1, 0, 2], [0, 1, 2]])
    assert [(row.better, row.worse) for row in level_pairs(apart, usual)] == [("a", "c")]


def test_means_of_levels_best_first() -> None:
    truth, scores = [[4, 2, NAN, 3], [6, NAN, NAN, 5]], [[10, 20, 0, 30], [30, 0, 0, 50]]
    rows = level_means(predictions(truth, scores))
    assert [(row.level, row.images, row.truth, row.predicted) for row in rows] == [
        ("b", 1, 2, 20),
        ("d", 2, 4, 40),
        ("a", 2, 5, 20),
    ]  # c is in no content
    turned = level_means(predictions(truth, scores, higher_is_better=True))
    assert [row.level for row in turned] == ["a", "d", "b"]


def test_gap() -> None:
    truth = torch.tensor([[1.0, 2, 2], [0, 5, NAN]], dtype=torch.float64)
    scores = torch.tensor([[0.0, 3, 10], [7, 6, NAN]], dtype=torch.float64)
    assert mean_gap(scores, truth) == pytest.approx((3 + 10 + 1) / 3)  # (2, 2) has no order
    assert mean_gap(truth, truth) == pytest.approx((1 + 1 + 5) / 3)
    assert mean_gap(scores, truth, min_gap=1) == 1
    assert mean_gap(scores, truth, min_gap=5) is None


def test_contents_are_looked_at_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found of them is the same; whole numbers add up exactly."""
    draw = torch.Generator().manual_seed(0)
    truth, scores = torch.randint(0, 9, (2, 50, 6), generator=draw).double().unbind()
    truth[::7, 2] = NAN
    found = predictions(truth.tolist(), scores.tolist())
    places = torch.arange(6.0)
    sizes: list[int] = []

    def signs(values: Tensor, min_gap: float = 0.0) -> Tensor:
        sizes.append(len(values))
        return order_signs(values, min_gap)

    def everything() -> tuple[object, ...]:
        sizes.clear()
        return (
            centred_ranks(truth).tolist(),
            count_pairs(found, places, min_gap=1),
            mean_gap(found.predicted, truth, min_gap=1),
            misplaced(found).tolist(),
        )

    monkeypatch.setattr(agreement, "order_signs", signs)
    whole = everything()
    assert max(sizes) == 50
    for pairs, most in ((36 * 8, 8), (1, 1)):
        monkeypatch.setattr(agreement, "PAIRS_AT_A_TIME", pairs)
        assert everything() == whole
        assert max(sizes) == most


def test_misplaced() -> None:
    found = predictions(
        [[1, 2, 4], [1, 2, 4], [1, 2, 4], [5, 5, NAN]],
        [[1, 2, 3], [1, 3, 2], [2, 2, 1], [1, 2, 0]],
    )
    assert misplaced(found).tolist() == [0, 2, 1 + 3 + 2, 0]
    assert misplaced(found, min_gap=1).tolist() == [0, 2, 3 + 2, 0]
