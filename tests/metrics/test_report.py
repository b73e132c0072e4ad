from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.errors import (
    DeadlineExceeded,
    InvalidInput,
    Overloaded,
    RankSRGANError,
)
from ranksrgan.contracts.images import from_tensor, write_image
from ranksrgan.contracts.scorer import Scorer, ScorerInfo
from ranksrgan.metrics import report
from ranksrgan.metrics.console import tell
from ranksrgan.metrics.report import References, score_files


def originals(folder: Path, **greys: int) -> Path:
    """Images of 2 x 2 pixels, each of one grey."""
    for name, grey in greys.items():
        write_image(
            folder / f"{name}.png", from_tensor(torch.full((3, 2, 2), grey, dtype=torch.uint8))
        )
    return folder


def grey(references: References, name: str) -> int:
    return int(references.of(Path("elsewhere") / name)[0, 0, 0, 0])


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("A0001.bmp", 1),
        ("A0001_00_03.bmp", 1),  # PIPAL
        ("A0001_00_07.bmp", 4),  # its own name goes first
        ("i01_01_1.bmp", 2),  # TID2013
        ("cat_night_x4.png", 6),  # the longest
        ("cat_day_x4.png", 5),
    ],
)
def test_the_original_of_an_image(tmp_path: Path, image: str, expected: int) -> None:
    names = {"A0001": 1, "I01": 2, "A0001_00_07": 4, "cat": 5, "cat_night": 6}
    assert grey(References(originals(tmp_path, **names)), image) == expected


def test_no_original_and_several(tmp_path: Path) -> None:
    references = References(originals(tmp_path, A0001=1, Dog=2, dog=3))
    with pytest.raises(InvalidInput, match=r"no reference named A00011_00, nor .*: A00011") as none:
        references.of(Path("A00011_00.bmp"))
    assert none.value.field == "reference"
    with pytest.raises(InvalidInput, match=r"several references for DOG_1: Dog\.png, dog\.png"):
        references.of(Path("DOG_1.png"))
    assert grey(references, "dog_1.png") == 3


class Scripted:
    """Gives what it is told to, one after the other."""

    info = ScorerInfo("scripted", "1", True, False, False, 1)

    def __init__(self, *outcomes: float | RankSRGANError) -> None:
        self._outcomes: Iterator[float | RankSRGANError] = iter(outcomes)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        outcome = next(self._outcomes)
        if isinstance(outcome, RankSRGANError):
            raise outcome
        return torch.tensor([outcome], dtype=torch.float64)


def test_a_service_that_goes_costs_no_score_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = originals(tmp_path, a=1, b=2, c=3, d=4)
    late = DeadlineExceeded("the service took more than 120 s")
    scorers: dict[str, Scorer] = {"sure": Scripted(1, 2, 3, 4), "late": Scripted(5, 6, late)}
    found = score_files([folder], scorers)
    assert found.results == [
        (str(folder / "a.png"), {"sure": 1.0, "late": 5.0}),
        (str(folder / "b.png"), {"sure": 2.0, "late": 6.0}),
        (str(folder / "c.png"), {"sure": 3.0}),
    ]
    assert [(Path(one["image"]).name, one["error"]) for one in found.failed] == [
        ("c.png", "DEADLINE_EXCEEDED"),
        ("d.png", "DEADLINE_EXCEEDED"),
    ]
    assert found.untried == 1
    assert capsys.readouterr().err == ""  # it is the command that tells
    tell(found.failed, found.untried)
    assert capsys.readouterr().err.splitlines() == [
        f"failed: {folder / 'c.png'}: the service took more than 120 s",
        "failed: 1 images after that, which were not tried",
    ]
    with pytest.raises(DeadlineExceeded):
        score_files([folder], {"late": Scripted(late)})


def test_a_full_service_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    folder = originals(tmp_path, a=1, b=2)
    full, silent = Overloaded("full", retry_after=2.0), Overloaded("full")
    found = score_files([folder], {"full": Scripted(full, full, 1, silent, 2)})
    assert [row for _, row in found.results] == [{"full": 1.0}, {"full": 2.0}]
    for pause, least in zip(waited, [2.0, 2.0, 1.0], strict=True):
        assert least <= pause <= 1.5 * least
    monkeypatch.setattr(report, "_PATIENCE", 1.0)
    found = score_files([folder], {"full": Scripted(1, full, 2)})
    assert [row for _, row in found.results] == [{"full": 1.0}]
    assert [one["error"] for one in found.failed] == ["OVERLOADED"]


def test_nan_is_a_failure_and_infinity_a_score(tmp_path: Path) -> None:
    """Weights that have diverged and services of others give NaN."""
    folder = originals(tmp_path, a=1, b=2, c=3)
    nan, infinite = float("nan"), float("inf")
    scorers: dict[str, Scorer] = {"sure": Scripted(1, infinite, 3), "lost": Scripted(5, nan, 7)}
    found = score_files([folder], scorers)
    assert [row for _, row in found.results] == [
        {"sure": 1.0, "lost": 5.0},
        {"sure": infinite},
        {"sure": 3.0, "lost": 7.0},
    ]
    assert found.mean() == {"sure": infinite, "lost": 6.0}
    (failed,) = found.failed
    assert failed["error"] == "UNDEFINED_SCORE"
    assert failed["message"] == (
        f"{folder / 'b.png'}: lost: the scorer scripted gave image 0 a score that is not a number"
    )


def test_a_scorer_that_returns_something_else_is_named(tmp_path: Path) -> None:
    class Several(Scripted):
        def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
            return torch.zeros(2, dtype=torch.float64)

    found = score_files([originals(tmp_path, a=1)], {"several": Several()})
    assert found.results == []
    assert [one["error"] for one in found.failed] == ["INVALID_INPUT"]
    assert "the scorer scripted returned the shape (2,)" in found.failed[0]["message"]
