from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ranksrgan.contracts.images import read_image
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.rankdata import RankDataset, plot_histogram, summarise
from ranksrgan.rankdata.dataset import Content
from ranksrgan.rankdata.inspect import SplitSummary, score_gaps, scores_by_level


def test_numbers_of_a_known_dataset(by_hand: RankDataset) -> None:
    report = summarise(by_hand)
    assert report.splits == {"train": SplitSummary(2, 4), "val": SplitSummary(1, 2)}
    assert [level.crops for level in report.levels.values()] == [6, 6, 6]
    means = {name: level.mean for name, level in report.levels.items()}
    assert means == pytest.approx({"low": 27 / 6, "mid": 24 / 6, "high": 18.5 / 6})
    # Best (lowest): high; mid and high; low; all three; mid; high.
    wins = {name: level.wins for name, level in report.levels.items()}
    assert wins == pytest.approx(
        {"low": (1 + 1 / 3) / 6, "mid": (0.5 + 1 / 3 + 1) / 6, "high": (2 + 0.5 + 1 / 3) / 6}
    )
    assert report.ties == pytest.approx(2 / 6)
    assert report.counts.crops_dropped == {"undefined_score": 3}


def test_direction_of_the_metric_decides_who_wins(by_hand: RankDataset) -> None:
    record = by_hand.record
    upwards = record.model_copy(update={"metric": replace(record.metric, higher_is_better=True)})
    wins = summarise(replace(by_hand, record=upwards)).levels
    # Best (highest): low, low, mid, all three, low, low.
    assert wins["low"].wins == pytest.approx((4 + 1 / 3) / 6)
    assert wins["high"].wins == pytest.approx(1 / 18)


def test_orders_are_found_not_assumed(by_hand: RankDataset) -> None:
    orders = summarise(by_hand).orders
    assert [(str(order), order.crops) for order in orders] == [
        ("high > mid > low", 2),
        ("low > high > mid", 1),
        ("low = mid = high", 1),
        ("mid > high > low", 1),
        ("mid = high > low", 1),
    ]
    assert orders[0].places == (("high",), ("mid",), ("low",))
    assert [order.share for order in orders] == pytest.approx([2 / 6] + [1 / 6] * 4)
    record = by_hand.record
    upwards = record.model_copy(update={"metric": replace(record.metric, higher_is_better=True)})
    assert str(summarise(replace(by_hand, record=upwards)).orders[0]) == "low > mid > high"


def test_gaps_between_levels(by_hand: RankDataset) -> None:
    assert score_gaps(by_hand) == {
        "low - mid": [1, 1, -2, 2, 1, 0],
        "low - high": [2, 1, -1, 1.5, 5, 0],
        "mid - high": [1, 0, 1, -0.5, 4, 0],
    }


def test_versions_that_people_did_not_judge(by_hand: RankDataset, tmp_path: Path) -> None:
    def content(top: int, levels: tuple[str, ...], *scores: float) -> Content:
        return Content("one", "train", top, 0, 8, 8, 1.0, levels, scores)

    judged = replace(
        by_hand,
        contents=(content(0, ("low", "high"), 1.0, 3.0), content(8, ("mid", "high"), 6.0, 2.0)),
    )
    assert scores_by_level(judged) == {"low": [1.0], "mid": [6.0], "high": [3.0, 2.0]}
    assert score_gaps(judged) == {"low - mid": [], "low - high": [-2.0], "mid - high": [4.0]}
    report = summarise(judged)
    assert [(level.crops, level.mean) for level in report.levels.values()] == [
        (1, 1.0),
        (1, 6.0),
        (2, 2.5),
    ]
    assert [level.wins for level in report.levels.values()] == [0.5, 0.0, 0.5]
    assert [str(order) for order in report.orders] == ["high > mid", "low > high"]
    plot_histogram(judged, tmp_path / "scores.png")
    assert read_image(tmp_path / "scores.png").colour.shape == (900, 800, 3)


def test_histogram_is_a_picture(by_hand: RankDataset, tmp_path: Path) -> None:
    plot_histogram(by_hand, tmp_path / "scores.png")
    picture = read_image(tmp_path / "scores.png")
    assert picture.colour.shape == (900, 800, 3)
    assert len({tuple(pixel) for pixel in picture.colour.reshape(-1, 3)}) > 10


def test_histogram_of_infinite_or_equal_scores(
    write_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    psnr = ScorerInfo("psnr", "1", True, True, False, 1)
    dataset = RankDataset.open(
        write_dataset({("a", "train", 0): (30.0, float("inf"))}, metric=psnr)
    )
    plot_histogram(dataset, tmp_path / "psnr.png")
    assert (tmp_path / "psnr.png").stat().st_size > 1000
    assert summarise(dataset).levels["high"].mean == float("inf")
