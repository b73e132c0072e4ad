from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from ranksrgan.contracts.errors import InvalidInput, UndefinedScore
from ranksrgan.metrics.correlation import krocc, main_score, pair_accuracy, plcc, srocc

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


def test_srocc_and_plcc_of_a_thousand_vectors_against_scipy() -> None:
    rng = np.random.default_rng(7)
    shape = 1000, 30
    # In every other pair both sides have ties, of 8 values each.
    a, b = rng.normal(size=shape), rng.normal(size=shape)
    b += rng.uniform(-3, 3, size=(1000, 1)) * a
    a[::2], b[::2] = rng.integers(0, 8, (2, 500, 30))
    ranks = stats.rankdata(a, axis=1), stats.rankdata(b, axis=1)
    spearman = stats.pearsonr(*ranks, axis=1).statistic
    for k in range(0, 1000, 50):
        assert spearman[k] == pytest.approx(stats.spearmanr(a[k], b[k]).statistic, abs=1e-12)
    pearson = stats.pearsonr(a, b, axis=1).statistic
    fitted = np.stack([np.polyval(np.polyfit(x, y, 3), x) for x, y in zip(a, b, strict=True)])
    cubic = stats.pearsonr(fitted, b, axis=1).statistic
    pairs = list(zip(torch.from_numpy(a), torch.from_numpy(b), strict=True))
    ours = np.array([(srocc(x, y), plcc(x, y, "none"), plcc(x, y)) for x, y in pairs])
    expected = np.stack([spearman, pearson, cubic], axis=1)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)


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


@given(TWO_VECTORS)
def test_krocc_against_scipy(vectors: tuple[list[float], list[float]]) -> None:
    a, b = vectors
    assume(len(set(a)) > 1 and len(set(b)) > 1)
    value = krocc(a, b)
    assert value == pytest.approx(stats.kendalltau(a, b).statistic, abs=1e-12)
    assert krocc(b, a) == value
    assert krocc([x**3 + x for x in a], b) == value
    assert krocc([-x for x in a], b) == -value
    assert krocc(a, a) == 1


def test_rank_correlations_of_a_thousand_values_with_ties_against_scipy() -> None:
    rng = np.random.default_rng(0)
    for levels in (3, 50, 100_000):
        a = rng.integers(0, levels, 1000).astype(float)
        b = a + rng.integers(-levels, levels, 1000)
        assert krocc(a, b) == pytest.approx(stats.kendalltau(a, b).statistic, abs=1e-12)
        assert srocc(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)


def test_krocc_by_hand() -> None:
    # Six pairs: one tied on the left, four in order, one not.
    assert krocc([1, 1, 2, 3], [1, 2, 4, 3]) == pytest.approx((4 - 1) / math.sqrt(5 * 6))


@given(TWO_VECTORS)
def test_plcc_without_a_fit_against_numpy(vectors: tuple[list[float], list[float]]) -> None:
    a, b = vectors
    assume(len(set(a)) > 1 and len(set(b)) > 1)
    value = plcc(a, b, fit="none")
    assert value == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)
    assert plcc(b, a, fit="none") == value
    assert plcc(a, b) >= abs(value) - 1e-12


@pytest.mark.parametrize("seed", range(20))
def test_plcc_after_a_cubic_fit_against_numpy_polyfit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 200))
    x = rng.normal(size=n)
    y = 1400 + 120 * (np.tanh(2 * x) + rng.normal(size=n) * rng.choice([0.1, 1, 10]))
    fitted = np.polyval(np.polyfit(x, y, 3), x)
    assert plcc(x, y) == pytest.approx(np.corrcoef(fitted, y)[0, 1], abs=1e-10)
    # On the scale of Elo ratings too, where powers of the raw values would reach 1e9.
    assert plcc(1449 + 121 * x, y) == pytest.approx(plcc(x, y), abs=1e-10)


def test_the_fit_sees_what_a_straight_line_does_not() -> None:
    truth = torch.from_numpy(stats.norm.ppf((np.arange(1001) + 0.5) / 1001))
    predicted = truth.sign() * truth.abs() ** (1 / 3)
    assert srocc(predicted, truth) == 1
    assert plcc(predicted, truth) == pytest.approx(1, abs=1e-12)
    assert plcc(predicted, truth, fit="none") == pytest.approx(0.93, abs=0.005)
    # A parabola has no linear part, and only a linear part on two places is a constant.
    x = [-2, -1, 0, 1, 2]
    assert plcc(x, [4, 1, 0, 1, 4]) == pytest.approx(1, abs=1e-12)
    assert plcc(x, [4, 1, 0, 1, 4], fit="none") == pytest.approx(0, abs=1e-12)
    assert plcc([1, 1, 2, 2], [1, 3, 0, 4]) == pytest.approx(0, abs=1e-12)


def test_plcc_of_few_different_values_is_that_of_their_means() -> None:
    # Three places: the fit goes through the three means.
    a, b = [0, 0, 1, 1, 5, 5], [1, 3, 7, 9, 2, 4]
    means = [2, 2, 8, 8, 3, 3]
    assert plcc(a, b) == pytest.approx(np.corrcoef(means, b)[0, 1], abs=1e-12)
    assert plcc([1, 2, 3, 4], [5, -1, 7, 7]) == pytest.approx(1, abs=1e-12)


def test_plcc_of_very_large_and_very_small_values() -> None:
    a, b = [1.0, 2, 4, 3, 7, 5], [2.0, 1, 5, 3, 8, 9]
    for fit in ("cubic", "none"):
        for scale in (1e307, 1e-307):
            scaled = [x * scale for x in a]
            assert plcc(scaled, b, fit) == pytest.approx(plcc(a, b, fit), abs=1e-12)
            assert plcc(b, scaled, fit) == pytest.approx(plcc(b, a, fit), abs=1e-12)


def test_plcc_of_values_far_from_zero() -> None:
    """Whole numbers up to 2^53 are exact, so that an offset changes nothing."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(-1000, 1000, (2, 40)).astype(float)
    for fit in ("cubic", "none"):
        expected = plcc(a, b, fit)
        for offset in (1e9, -1e15):
            assert plcc(a + offset, b, fit) == pytest.approx(expected, abs=1e-14)
            assert plcc(b, a + offset, fit) == pytest.approx(plcc(b, a, fit), abs=1e-14)
    assert plcc([1e16, 1e16 + 2, 1e16 + 4], [1, 2, 3], fit="none") == pytest.approx(1, abs=1e-15)


def test_main_score_is_two_for_the_truth_itself() -> None:
    truth = 1449 + 121 * torch.randn(1650, dtype=torch.float64)
    assert main_score(truth, truth) == pytest.approx(2, abs=1e-12)
    assert main_score(-truth, truth) == pytest.approx(2, abs=1e-12)


@given(
    seed=st.integers(0, 2**16),
    factor=st.floats(1e-3, 1e3),
    offset=st.floats(-1e3, 1e3),
    sign=st.sampled_from([-1, 1]),
)
def test_main_score_does_not_change_under_affine_maps(
    seed: int, factor: float, offset: float, sign: int
) -> None:
    rng = np.random.default_rng(seed)
    predicted, truth = rng.normal(size=(2, 60))
    truth += predicted
    mapped = sign * factor * predicted + offset
    assert main_score(mapped, truth) == pytest.approx(main_score(predicted, truth), abs=1e-7)
    assert main_score(predicted, sign * factor * truth + offset) == pytest.approx(
        main_score(predicted, truth), abs=1e-7
    )
    value = main_score(predicted, truth)
    assert value == abs(srocc(predicted, truth)) + plcc(predicted, truth)


def test_main_score_of_a_thousand_opinions_minds_neither_unit_nor_sign() -> None:
    rng = np.random.default_rng(0)
    predicted, truth = rng.normal(size=(2, 1000))
    truth = 1449 + 121 * (truth + predicted)
    expected = main_score(predicted, truth)
    for factor, offset in ((1449.0, 121.0), (-0.05, 3.0), (-1.0, 0.0)):
        found = main_score(factor * predicted + offset, truth)
        assert found == pytest.approx(expected, abs=1e-9)


def test_main_score_of_noise_at_the_size_of_the_challenge() -> None:
    rng = np.random.default_rng(0)
    scores = [main_score(*rng.normal(size=(2, 1650))) for _ in range(100)]
    assert np.mean(scores) == pytest.approx(0.058, abs=0.01)


def test_an_unknown_fit() -> None:
    with pytest.raises(InvalidInput, match="no fit 'logistic': it is one of cubic, none"):
        plcc([1, 2, 3], [1, 2, 3], fit="logistic")  # type: ignore[arg-type]


@pytest.mark.parametrize("function", [srocc, krocc, plcc, main_score, pair_accuracy])
@pytest.mark.parametrize(
    ("a", "b"), [([1.0], [1.0]), ([1.0, 2], [1.0, 2, 3]), ([], []), ([1.0, math.nan], [1.0, 2])]
)
def test_bad_vectors(function: object, a: list[float], b: list[float]) -> None:
    with pytest.raises(InvalidInput):
        function(a, b)  # type: ignore[operator]


@pytest.mark.parametrize("function", [srocc, krocc, plcc, main_score])
def test_without_an_order_there_is_no_value(function: object) -> None:
    # The mean of 0.1, 0.1, 0.1 is not 0.1 in floating point.
    for constant in ([1, 1, 1], [0.1, 0.1, 0.1], [0, 0, 0]):
        with pytest.raises(UndefinedScore, match="all values are equal"):
            function(constant, [1, 2, 3])  # type: ignore[operator]
        with pytest.raises(UndefinedScore, match="all values are equal"):
            function([1, 2, 3], constant)  # type: ignore[operator]


def test_pair_accuracy_needs_an_order_of_the_truth_only() -> None:
    with pytest.raises(UndefinedScore):
        pair_accuracy([1, 2, 3], [1, 1, 1])
    assert pair_accuracy([1, 1, 1], [1, 2, 3]) == 0
