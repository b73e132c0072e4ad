from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from ranksrgan.contracts.errors import InvalidInput, UndefinedScore
from ranksrgan.metrics import pair_accuracy, srocc

NUMBERS = st.one_of(st.integers(-5, 5).map(float), st.floats(-100, 100).map(lambda x: round(x, 3)))
TWO_VECTORS = st.integers(2, 30).flatmap(
    lambda n: st.tuples(*(st.lists(NUMBERS, min_size=n, max_size=n) for _ in range(2)))
)


@given(TWO_VECTORS)
def test_srocc_against_scipy(vectors: tuple[list[float], list[float]]) -> None:
    a, b = vectors
    assume(len(set(a)) > 1 and len(set(b)) > 1)
    assert srocc(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)


@given(TWO_VECTORS)
def test_srocc_does_not_change_under_increasing_maps(
    vectors: tuple[list[float], list[float]],
) -> None:
    a, b = vectors
    assume(len(set(a)) > 1 and len(set(b)) > 1)
    value = srocc(a, b)
    assert srocc([x**3 + x for x in a], b) == value
    assert srocc([-x for x in a], b) == pytest.approx(-value, abs=1e-12)
    assert srocc(b, a) == value
    assert srocc(a, a) == 1
    assert abs(value) <= 1


def test_srocc_of_tensors_with_ties_by_hand() -> None:
    # ranks 1, 2.5, 2.5, 4 and 2, 1, 3, 4
    value = srocc(torch.tensor([0.0, 1, 1, 7]), torch.tensor([5, 2, 6, 9]))
    assert value == pytest.approx(3 / math.sqrt(4.5 * 5))


@given(TWO_VECTORS)
def test_pair_accuracy_against_all_pairs(vectors: tuple[list[float], list[float]]) -> None:
    predicted, truth = vectors
    assume(len(set(truth)) > 1)
    pairs = [
        (predicted[i] - predicted[j]) * (truth[i] - truth[j]) > 0
        for i in range(len(truth))
        for j in range(i)
        if truth[i] != truth[j]
    ]
    assert pair_accuracy(predicted, truth) == sum(pairs) / len(pairs)


def test_pair_accuracy_by_hand() -> None:
    assert pair_accuracy([1, 2, 3], [10, 20, 30]) == 1
    assert pair_accuracy([3, 2, 1], [10, 20, 30]) == 0
    assert pair_accuracy([1, 2, 3], [10, 10, 30]) == 1  # a tie in truth is no pair
    assert pair_accuracy([1, 1, 3], [10, 20, 30]) == pytest.approx(2 / 3)  # nothing was ranked


@pytest.mark.parametrize("function", [srocc, pair_accuracy])
@pytest.mark.parametrize(
    ("a", "b"), [([1.0], [1.0]), ([1.0, 2], [1.0, 2, 3]), ([], []), ([1.0, math.nan], [1.0, 2])]
)
def test_bad_vectors(function: object, a: list[float], b: list[float]) -> None:
    with pytest.raises(InvalidInput):
        function(a, b)  # type: ignore[operator]


def test_without_an_order_there_is_no_value() -> None:
    with pytest.raises(UndefinedScore):
        srocc([1, 1, 1], [1, 2, 3])
    with pytest.raises(UndefinedScore):
        srocc([1, 2, 3], [1, 1, 1])
    with pytest.raises(UndefinedScore):
        pair_accuracy([1, 2, 3], [1, 1, 1])
