from __future__ import annotations

import math
import sys
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr
from torch import Tensor

from ranksrgan.ranker.usual_order import MOST_LEVELS, usual_order


def mean_correlation(places: list[float], truth: Tensor) -> float:
    """Of an order with each content, by scipy; contents without an order have no part."""
    found = []
    for row in truth:
        present = [level for level in range(len(row)) if not row[level].isnan()]
        values = [float(row[level]) for level in present]
        if len(set(values)) > 1:
            found.append(spearmanr([places[level] for level in present], values).statistic)
    return math.fsum(found) / len(found) if found else 0.0


value = st.one_of(st.integers(0, 3), st.just(math.nan))


def tables(levels: int) -> st.SearchStrategy[list[list[float]]]:
    row = st.lists(value, min_size=levels, max_size=levels)
    return st.lists(row, min_size=1, max_size=5)


@given(tables(4))
@settings(max_examples=30)
def test_no_permutation_is_better(rows: list[list[float]]) -> None:
    truth = torch.tensor(rows, dtype=torch.float64)
    places = usual_order(truth).tolist()
    assert sorted(places) == [0, 1, 2, 3]
    best = max(mean_correlation(list(order), truth) for order in permutations(range(4)))
    assert mean_correlation(places, truth) == pytest.approx(best, abs=1e-12)


def test_a_cycle_that_mean_ranks_do_not_solve() -> None:
    """Contents of two levels each: b above a three times, c above b twice, a above c once."""
    nan = math.nan
    rows = 3 * [[1, 2, nan]] + 2 * [[nan, 1, 2]] + [[2, nan, 1]]
    assert usual_order(torch.tensor(rows, dtype=torch.float64)).tolist() == [0, 1, 2]
    rows = 3 * [[1, 2, nan]] + [[nan, 1, 2]] + 2 * [[2, nan, 1]]
    assert usual_order(torch.tensor(rows, dtype=torch.float64)).tolist() == [1, 2, 0]


def test_complete_contents_of_many_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = torch.rand(50, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    by_rank = usual_order(truth)
    means = rankdata(truth.numpy(), axis=1).mean(axis=0)
    assert len(set(means)) == 8
    expected = rankdata(means) - 1
    assert by_rank.tolist() == expected.tolist()
    # The exact search, which takes over as soon as one number is missing, agrees.
    lacking = torch.cat([truth, torch.full((1, 8), torch.nan, dtype=torch.float64)])
    assert usual_order(lacking).tolist() == by_rank.tolist()
    monkeypatch.setattr(sys.modules[usual_order.__module__], "MOST_LEVELS", 7)
    assert usual_order(lacking).tolist() == by_rank.tolist()


def test_more_levels_than_are_searched() -> None:
    count = MOST_LEVELS + 8
    truth = torch.randperm(count, generator=torch.Generator().manual_seed(0)).double()[None]
    contents = truth.repeat(30, 1)
    contents[torch.rand(contents.shape, generator=torch.Generator().manual_seed(1)) < 0.3] = (
        torch.nan
    )
    found = usual_order(contents)
    assert sorted(found.tolist()) == list(range(count))
    assert spearmanr(found, truth[0]).statistic > 0.95


def test_nothing_tells_them_apart() -> None:
    assert usual_order(torch.ones(2, 3, dtype=torch.float64)).tolist() == [0, 1, 2]
    assert usual_order(torch.ones(2, 1, dtype=torch.float64)).tolist() == [0]
