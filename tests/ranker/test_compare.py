from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from itertools import combinations

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput, UndefinedScore
from ranksrgan.contracts.pairs import PairSource, RankedContent
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.ranker.compare import (
    Comparison,
    as_json,
    as_table,
    compare,
    level_table,
    pair_table,
)
from ranksrgan.ranker.evaluate import RankEvaluation, evaluate

Source = Callable[..., PairSource]


class Pixel:
    """Scores an image by one of its pixels."""

    def __init__(self, column: int, *, higher_is_better: bool = False) -> None:
        self.info = ScorerInfo(f"pixel{column}", "1", higher_is_better, False, False, 1)
        self._column = column

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        return images[:, 0, 0, self._column].double()


@pytest.fixture
def source(source_of: Source) -> PairSource:
    """Of pixel 0 every score is right, pixel 1 tells the level, pixel 2 nothing."""
    rows = [[1, 2, 4], [2, 3, 5], [4, 3, 9], [1, 6, 5], [2, 3, 4]]
    contents = []
    for number, row in enumerate(rows):
        images = torch.zeros(3, 3, 8, 8)
        images[:, 0, 0, 0] = torch.tensor(row)
        images[:, 0, 0, 1] = torch.tensor([0.0, 1, 2])
        scores = torch.tensor(row, dtype=torch.float64)
        levels = ("hr", "half", "bicubic")
        contents.append(RankedContent(f"photo@{number},0", levels, images, scores))
    return source_of(contents)


@pytest.fixture
def found(source: PairSource) -> Comparison:
    scorers = {"metric": Pixel(0), "levels": Pixel(1), "constant": Pixel(2)}
    return compare(scorers, source)


def test_side_by_side(found: Comparison, source: PairSource) -> None:
    assert [name for name, _ in found.rows] == [
        *("usual order", "metric", "levels", "constant", "blur itself"),
    ]
    assert found.usual_order == ("hr", "half", "bicubic")  # lower is better, so smallest first
    one = {name: judged.evaluation for name, judged in found.scorers.items()}
    for column, evaluation in enumerate(one.values()):
        assert evaluation == evaluate(Pixel(column), source)
    assert one["metric"] == found.itself
    assert one["levels"] == found.usual  # which pixel 1 is
    assert (found.usual.reversed_pairs, found.usual.reversed_accuracy) == (2, 0)
    assert found.itself.reversed_accuracy == 1
    assert one["constant"].srocc_per_content == 0


def test_of_a_metric_that_rises_with_quality(source_of: Source) -> None:
    further = {"mos": torch.tensor([5.0, 6, 7], dtype=torch.float64)}
    scores = torch.tensor([3.0, 2, 1], dtype=torch.float64)
    content = RankedContent("c", ("a", "b", "c"), torch.rand(3, 3, 8, 8), scores, further)
    source = source_of([content], further={"mos": True})
    found = compare({"one": Pixel(0)}, source, metric="mos", min_gap=1.5)
    assert found.usual_order == ("c", "b", "a")
    assert (found.metric, found.higher_is_better, found.min_gap) == ("mos", True, 1.5)
    assert [(pair.better, pair.worse) for pair in found.scorers["one"].pairs] == [("c", "a")]
    assert [level.level for level in found.scorers["one"].levels] == ["c", "b", "a"]


def test_tables(found: Comparison) -> None:
    lines = as_table(found).splitlines()
    assert lines[0] == (
        "blur (lower is better) of 15 images of 5 contents, 0 of which have no order"
    )
    assert lines[1] == (
        "15 pairs; 2 (13.3%) reverse the usual order of the levels: hr, half, bicubic (best first)"
    )
    cells = {line.split("  ")[0]: line.split() for line in lines if line}
    srocc = spearmanr(5 * [0, 1, 2], [1, 2, 4, 2, 3, 5, 4, 3, 9, 1, 6, 5, 2, 3, 4]).statistic
    assert cells["levels"][1:3] == [f"{srocc:.4f}", "0.8000"]
    assert cells["levels"][5:7] == ["0.8667", "0.0000"]
    # Mean values of hr: (1 + 2 + 4 + 1 + 2) / 5; the constant scorer gives all one place.
    assert cells["hr"] == ["hr", "5", "2.0000", "2.0000", "(1)", "0.0000", "(1)", "0.0000", "(1)"]
    assert level_table(found)[3][:4] == ["bicubic", "5", "5.4000", "5.4000 (3)"]
    columns = ["metric", "of reversed", "levels", "of reversed", "constant", "of reversed"]
    assert pair_table(found) == [
        ["better, worse", "pairs", "reversed", *columns],
        ["hr, half", "5", "1", "1.0000", "1.0000", "0.8000", "0.0000", "0.0000", "0.0000"],
        ["hr, bicubic", "5", "0", "1.0000", "-", "1.0000", "-", "0.0000", "-"],
        ["half, bicubic", "5", "1", "1.0000", "1.0000", "0.8000", "0.0000", "0.0000", "0.0000"],
    ]


def test_the_place_of_a_level(source: PairSource) -> None:
    class Turned(Pixel):
        def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
            return -super().score(images)

    rows = level_table(compare({"turned": Turned(1)}, source))
    assert [row[3] for row in rows[1:]] == ["0.0000 (3)", "-1.0000 (2)", "-2.0000 (1)"]


def test_of_many_pairs_those_that_reverse_most(
    found: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[compare.__module__], "MOST_PAIRS", 2)
    rows = pair_table(found)
    assert rows[0][0] == "better, worse (2 of 3)"
    assert [row[0] for row in rows[1:]] == ["hr, half", "half, bicubic"]


def test_json(found: Comparison) -> None:
    document = json.loads(as_json(found))
    assert document["metric"] == "blur"
    assert document["usual_order"]["levels"] == ["hr", "half", "bicubic"]
    assert document["usual_order"]["reversed_accuracy"] == 0
    assert RankEvaluation(**document["metric_itself"]) == found.itself
    assert list(document["scorers"]) == ["metric", "levels", "constant"]
    levels = document["scorers"]["levels"]
    evaluation = asdict(found.scorers["levels"].evaluation)
    assert {name: levels[name] for name in evaluation} == evaluation
    assert levels["by_pair"][0] == {
        "better": "hr",
        "worse": "half",
        "pairs": 5,
        "right": 4,
        "reversed": 1,
        "reversed_right": 0,
    }
    assert levels["by_level"][0] == {"level": "hr", "images": 5, "truth": 2.0, "predicted": 0.0}
    assert levels["calibration"]["line"] == list(found.scorers["levels"].calibration.line)


def test_levels_that_no_content_has(source_of: Source) -> None:
    contents = [
        RankedContent(
            f"c{i}",
            tuple(levels),
            torch.rand(2, 3, 8, 8),
            torch.tensor([1.0, 2.0], dtype=torch.float64),
        )
        for i, levels in enumerate(combinations("abc", 2))
    ]
    everything, held_out = source_of(contents), source_of(contents[:1])

    class Split:
        info = everything.info

        def contents(self) -> object:
            return held_out.contents()

    found = compare({"one": Pixel(0)}, Split())  # type: ignore[arg-type]
    assert found.usual_order == ("a", "b")
    assert [row[0] for row in level_table(found)[1:]] == ["a", "b"]
    assert [row[0] for row in pair_table(found)[1:]] == ["a, b"]
    assert json.loads(as_json(found))["scorers"]["one"]["images"] == 2


def test_nothing_to_compare(source: PairSource, source_of: Source) -> None:
    with pytest.raises(InvalidInput, match="no scorer"):
        compare({}, source)
    flat = RankedContent(
        "c", ("a", "b"), torch.rand(2, 3, 8, 8), torch.ones(2, dtype=torch.float64)
    )
    with pytest.raises(UndefinedScore, match="equal"):
        compare({"one": Pixel(0)}, source_of([flat]))
