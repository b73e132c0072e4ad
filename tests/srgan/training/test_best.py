from __future__ import annotations

import pytest

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.srgan.training.best import BestRule

DIRECTIONS = {"psnr": True, "niqe": False, "lpips": False}


def test_one_metric_is_ranked_by_itself() -> None:
    rule = BestRule("niqe", DIRECTIONS)
    assert rule.value({"psnr": 30.0, "niqe": 5.0, "lpips": None}) == 5.0
    assert rule.improves(4.9, 5.0)
    assert not rule.improves(5.0, 5.0)
    assert BestRule("psnr", DIRECTIONS).improves(30.1, 30.0)
    assert rule.improves(99.0, None)


def test_a_sum_has_the_direction_of_its_first_metric() -> None:
    rule = BestRule({"niqe": 1.0, "lpips": 10.0}, DIRECTIONS)
    assert rule.value({"psnr": 30.0, "niqe": 5.0, "lpips": 0.2}) == pytest.approx(7.0)
    assert not rule.higher_is_better
    assert rule.metrics == ["niqe", "lpips"]
    mixed = BestRule({"psnr": 1.0, "lpips": 10.0}, DIRECTIONS)
    assert mixed.higher_is_better
    better, worse = ({"psnr": 30.0, "niqe": 5.0, "lpips": lpips} for lpips in (0.2, 0.3))
    first, second = mixed.value(better), mixed.value(worse)
    assert first == pytest.approx(28.0)
    assert first is not None
    assert second is not None
    assert mixed.improves(first, second)


def test_nothing_is_best_by_a_metric_without_a_value() -> None:
    rule = BestRule({"niqe": 1.0, "lpips": 10.0}, DIRECTIONS)
    assert rule.value({"psnr": 30.0, "niqe": 5.0, "lpips": None}) is None


def test_a_metric_that_there_is_not() -> None:
    with pytest.raises(InvalidConfig, match=r"validation\.best is dists; it is one of psnr, niqe"):
        BestRule({"niqe": 1.0, "dists": 1.0}, DIRECTIONS)


def test_a_value_of_before_sums_had_one_order_is_turned() -> None:
    mixed = BestRule({"psnr": 1.0, "niqe": 5.0}, DIRECTIONS)
    older = BestRule({"niqe": 5.0, "psnr": 1.0}, DIRECTIONS)
    scores = {"psnr": 30.0, "niqe": 4.0}
    value = older.value(scores)
    assert value == -10.0
    assert mixed.restored(value, "niqe") == mixed.value(scores) == 10.0
    assert mixed.restored(10.0, "psnr") == 10.0
