"""What ``min_gap`` leaves of a training's pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.curves import read_curve
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.pairs import PairSource, RankedContent
from ranksrgan.ranker import TrainConfig, train
from ranksrgan.ranker.gap import check_gap

Source = Callable[..., PairSource]
ContentOf = Callable[[list[float]], RankedContent]


def test_a_gap_that_no_pair_exceeds(
    small: TrainConfig, source_of: Source, content_of: ContentOf, tmp_path: Path
) -> None:
    source = source_of([content_of([0, 1.5]), content_of([9, 7, 8.5])])
    config = small.model_copy(update={"min_gap": 2.0, "losses": {"margin": 1.0, "plcc": 1.0}})
    message = (
        r"min_gap: no two .* by more than 2 in blur, so margin would learn nothing of it; "
        "less than 2 is wanted, or losses without margin"
    )
    with pytest.raises(InvalidConfig, match=message) as caught:
        train(config, source, None, tmp_path / "run")
    assert caught.value.field == "min_gap"
    assert not (tmp_path / "run").exists()
    for settings in ({"min_gap": 1.99}, {"losses": {"plcc": 1.0}}):
        check_gap(config.model_copy(update=settings), source)


def test_a_gap_has_to_be_exceeded_in_every_metric_that_is_learnt(
    source_of: Source, content_of: ContentOf
) -> None:
    contents = [
        content_of([0, 5])._replace(further={"ma": torch.tensor([7.0, 7.2])}),
        content_of([0, 1])._replace(further={"ma": torch.tensor([1.0, 1.4])}),
    ]
    source = source_of(contents, further={"ma": True})
    check_gap(TrainConfig(min_gap=4), source)
    check_gap(TrainConfig(min_gap=0.3, further=("ma",)), source)
    with pytest.raises(InvalidConfig, match=r"by more than 0\.5 in ma, .*; less than 0\.4 is"):
        check_gap(TrainConfig(min_gap=0.5, further=("ma",)), source)


def test_contents_are_read_until_one_has_such_a_pair(
    source_of: Source, content_of: ContentOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = [content_of([0, 1]), content_of([0, 3]), content_of([0, 9])]
    source, read = source_of(contents), []
    monkeypatch.setattr(source, "contents", lambda: (read.append(one) or one for one in contents))
    check_gap(TrainConfig(), source)
    assert read == []
    check_gap(TrainConfig(min_gap=2), source)
    assert len(read) == 2


def test_no_content_is_read_where_the_info_tells(
    source_of: Source, content_of: ContentOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To read all of a dataset is too much for what is only asked for."""
    source = source_of([content_of([0, 1])], further={"ma": True})
    monkeypatch.setattr(source, "contents", lambda: pytest.fail("a content was read"))
    monkeypatch.setattr(source, "_info", replace(source.info, widest={"blur": 3.0, "ma": 1.0}))
    check_gap(TrainConfig(min_gap=2), source)
    with pytest.raises(InvalidConfig, match=r"by more than 3 in blur, .*; less than 3 is wanted"):
        check_gap(TrainConfig(min_gap=3), source)
    with pytest.raises(InvalidConfig, match=r"by more than 2 in ma, .*; less than 1 is wanted"):
        check_gap(TrainConfig(min_gap=2, further=("ma",)), source)


def test_the_accuracy_is_of_the_pairs_that_have_an_order(
    small: TrainConfig, source_of: Source, content_of: ContentOf, tmp_path: Path
) -> None:
    source = source_of([content_of([0, 1.5]), content_of([0, 2.5])])
    config = small.model_copy(update={"min_gap": 2.0, "batch": 1, "log_every": 1})
    train(config, source, None, tmp_path)
    seen = islice(source.shuffled_contents(config.seed), config.steps)
    wide = [float(content.scores[1]) > 2 for content in seen]
    assert wide.count(True) == wide.count(False) == 3
    accuracies = [row.get("accuracy") for row in read_curve(tmp_path / "curves.csv")]
    assert [bool(text) for text in accuracies] == wide
