from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.rankdata.bound import upper_bounds
from ranksrgan.rankdata.dataset import Content, RankDataset
from ranksrgan.rankdata.inspect import summarise


def _with_scores(dataset: RankDataset, scores: list[tuple[float, ...]]) -> RankDataset:
    contents = [
        Content("one", "train", 0, 8 * number, 8, 8, 1.0, dataset.levels, values)
        for number, values in enumerate(scores)
    ]
    return replace(dataset, contents=tuple(contents))


def _upwards(dataset: RankDataset) -> RankDataset:
    metric = replace(dataset.metric, higher_is_better=True)
    return replace(dataset, record=dataset.record.model_copy(update={"metric": metric}))


def test_by_hand_where_lower_is_better(by_hand: RankDataset) -> None:
    # low, mid, high: 543, 544, 354, 222, 6/4/4.5, 651
    low_mid, low_high, mid_high, everything = upper_bounds(by_hand)
    assert low_mid.levels == ("low", "mid")
    assert low_mid.contents == 6
    assert low_mid.means == pytest.approx((27 / 6, 24 / 6))
    assert low_mid.better == pytest.approx((1 / 6, 4 / 6))
    assert low_mid.best == "mid"
    assert low_mid.bound == pytest.approx((4 + 4 + 3 + 2 + 4 + 5) / 6)
    assert low_mid.gain == pytest.approx(2 / 6)
    assert low_high.bound == pytest.approx((3 + 4 + 3 + 2 + 4.5 + 1) / 6)
    assert mid_high.gain == pytest.approx(0.5 / 6)
    assert everything.levels == ("low", "mid", "high")
    assert everything.bound == pytest.approx((3 + 4 + 3 + 2 + 4 + 1) / 6)
    assert everything.best == "high"
    assert everything.gain == pytest.approx(1.5 / 6)
    assert everything.better == pytest.approx((1 / 6, 1 / 6, 2 / 6))


def test_direction_decides(by_hand: RankDataset) -> None:
    low_mid, *_, everything = upper_bounds(_upwards(by_hand))
    assert low_mid.best == "low"
    assert low_mid.better == pytest.approx((4 / 6, 1 / 6))
    assert low_mid.bound == pytest.approx((5 + 5 + 5 + 2 + 6 + 6) / 6)
    assert low_mid.gain == pytest.approx(2 / 6)
    assert everything.bound == low_mid.bound


def test_one_split(by_hand: RankDataset) -> None:
    val = upper_bounds(by_hand, "val")
    assert [bound.contents for bound in val] == [2] * 4
    assert val[-1].means == pytest.approx((6, 4.5, 2.75))
    with pytest.raises(InvalidDataset, match="no split 'test'"):
        upper_bounds(by_hand, "test")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    scores=st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 3), min_size=1, max_size=20),
    upwards=st.booleans(),
)
def test_agrees_with_numpy_and_is_a_bound(
    by_hand: RankDataset, scores: list[tuple[float, ...]], upwards: bool
) -> None:
    dataset = _with_scores(by_hand, scores)
    bounds = upper_bounds(_upwards(dataset) if upwards else dataset)
    table = np.array(scores)
    sign = 1 if upwards else -1
    for bound, columns in zip(bounds, ([0, 1], [0, 2], [1, 2], [0, 1, 2]), strict=True):
        chosen = sign * table[:, columns]
        best = chosen.max(axis=1)
        assert sign * bound.bound == pytest.approx(best.mean(), abs=1e-6)
        assert bound.means == pytest.approx(table[:, columns].mean(axis=0), abs=1e-6)
        alone = (chosen == best[:, None]) & ((chosen == best[:, None]).sum(1) == 1)[:, None]
        assert bound.better == pytest.approx(alone.mean(axis=0))
        assert bound.gain == pytest.approx(best.mean() - chosen.mean(axis=0).max(), abs=1e-6)
        assert bound.gain >= 0


def test_two_levels_have_one_bound(write_dataset: Callable[..., Path]) -> None:
    folder = write_dataset({("one", "train", 0): (1.0, 2.0), ("two", "train", 0): (4.0, 3.0)})
    (bound,) = upper_bounds(RankDataset.open(folder))
    assert (bound.bound, bound.gain, bound.better) == (2.0, 0.5, (0.5, 0.5))


def test_psnr_of_the_original(write_dataset: Callable[..., Path]) -> None:
    psnr = ScorerInfo("psnr", "1", True, True, False, 1)
    folder = write_dataset({("one", "train", 0): (30.0, math.inf)}, metric=psnr)
    (bound,) = upper_bounds(RankDataset.open(folder))
    assert (bound.best, bound.bound) == ("high", math.inf)
    assert math.isnan(bound.gain)


def test_infinities_of_both_signs_have_no_mean(by_hand: RankDataset) -> None:
    mixed = _with_scores(by_hand, [(math.inf, 1.0, 2.0), (-math.inf, 3.0, 2.5)])
    assert math.isnan(summarise(mixed).levels["low"].mean)
    low_mid, _, mid_high, _ = upper_bounds(mixed)
    assert math.isnan(low_mid.means[0])
    assert (low_mid.best, low_mid.bound, low_mid.gain) == ("mid", -math.inf, math.inf)
    assert mid_high.bound == pytest.approx((1 + 2.5) / 2)


def test_versions_that_people_did_not_judge(by_hand: RankDataset) -> None:
    def content(top: int, levels: tuple[str, ...], *scores: float) -> Content:
        return Content("one", "train", top, 0, 8, 8, 1.0, levels, scores)

    contents = (
        content(0, ("low", "high"), 1.0, 3.0),
        content(8, ("low", "high"), 6.0, 2.0),
        content(16, ("low", "mid"), 9.0, 7.0),
    )
    bounds = upper_bounds(replace(by_hand, contents=contents))
    # No content has mid and high, so none has all three.
    assert [(b.levels, b.contents) for b in bounds] == [
        (("low", "mid"), 1),
        (("low", "high"), 2),
    ]
    assert bounds[1].means == (3.5, 2.5)
    assert bounds[1].bound == 1.5
    assert bounds[1].gain == 1.0
