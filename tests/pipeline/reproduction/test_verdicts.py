from __future__ import annotations

import math

import pytest

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.pipeline.reproduction.config import Comparison, Limit
from ranksrgan.pipeline.reproduction.findings import Column
from ranksrgan.pipeline.reproduction.verdicts import Figure, judge

NIQE, PSNR = Column("NIQE", False, 2), Column("PSNR-Y", True, 2, "dB")


def answers(ours: Figure, theirs: Figure, column: Column, tolerance: float | None = None) -> str:
    figures = {("Set14", "ours", column.name): ours, ("Set14", "theirs", column.name): theirs}
    wanted = Comparison(
        better="ours", than="theirs", column=column.name, tolerance=tolerance, groups=("Set14",)
    )
    whole, part = judge([wanted], figures, [column])
    assert whole.answer == part.answer
    return part.answer


def test_a_spread_is_the_sample_standard_deviation_over_the_seeds() -> None:
    figure = Figure((1.0, 2.0, 4.0))
    assert figure.mean == pytest.approx(7 / 3)
    assert figure.spread == pytest.approx(math.sqrt((16 / 9 + 1 / 9 + 25 / 9) / 2))
    assert Figure((1.0,)).spread is None
    assert Figure((1.0,), fixed=True).spread == 0
    assert Figure((1.0,), fixed=True).cell.spread is None


def test_better_is_better_by_more_than_the_spread_of_the_difference() -> None:
    # Deviations of 0.1 each: the difference has one of 0.141.
    wide = Figure((3.9, 4.0, 4.1))
    assert answers(wide, Figure((4.05, 4.15, 4.25)), NIQE) == "held"  # 0.15
    assert answers(wide, Figure((4.03, 4.13, 4.23)), NIQE) == "undecided"  # 0.13
    assert answers(Figure((4.03, 4.13, 4.23)), wide, NIQE) == "undecided"
    assert answers(Figure((4.05, 4.15, 4.25)), wide, NIQE) == "not held"
    # The other way round where higher is better.
    assert answers(Figure((4.05, 4.15, 4.25)), wide, PSNR) == "held"


def test_one_seed_decides_nothing_but_fixed_figures_need_no_spread() -> None:
    assert answers(Figure((3.0,)), Figure((4.0,)), NIQE) == "undecided"
    bound = Figure((4.0,), fixed=True)
    assert answers(Figure((3.7, 3.8, 3.9)), bound, NIQE) == "held"
    assert answers(Figure((3.8, 3.95, 4.1)), bound, NIQE) == "undecided"


def test_the_headline_says_why_nothing_is_decided() -> None:
    figures = {
        ("one", "ours", "NIQE"): Figure((3.0,)),
        ("one", "theirs", "NIQE"): Figure((4.0,)),
        ("three", "ours", "NIQE"): Figure((3.9, 4.0, 4.1)),
        ("three", "theirs", "NIQE"): Figure((4.03, 4.13, 4.23)),
    }

    def headline(*groups: str) -> str:
        wanted = Comparison(better="ours", than="theirs", column="NIQE", groups=groups)
        return judge([wanted], figures, [NIQE])[0].text

    start = "Undecided: 0 of"
    assert headline("one") == (
        f"{start} 1 comparisons hold, the others are of one seed, which tells no spread."
    )
    assert headline("three") == (
        f"{start} 1 comparisons hold, the others are within the seeds' spread."
    )
    assert headline("one", "three") == (
        f"{start} 2 comparisons hold, 1 are of one seed, which tells no spread, and the others are "
        "within the seeds' spread."
    )


def test_a_figure_that_is_missing_is_an_answer_and_names_the_seeds() -> None:
    figures = {
        ("Set14", "ours", "NIQE"): Figure((3.0,), without=(1,)),
        ("Set14", "theirs", "NIQE"): Figure((4.0, 4.1)),
        ("Set14", "none", "NIQE"): Figure((), without=(0, 1)),
        ("Set14", "bound", "NIQE"): Figure((), fixed=True),
    }
    wanted = [
        Comparison(better="ours", than="theirs", column="NIQE", tolerance=1.0, groups=("Set14",)),
        Comparison(better="none", than="bound", column="NIQE", groups=("Set14",)),
        Limit(method="ours", column="NIQE", at_most=9.0, groups=("Set14",)),
    ]
    whole, *parts = judge(wanted, figures, [NIQE])
    assert [part.answer for part in parts] == ["undecided"] * 3
    assert [part.text for part in parts] == [
        "Set14: NIQE is missing of ours (seed 1), which decides nothing.",
        "Set14: NIQE is missing of none (seeds 0, 1) and of bound, which decides nothing.",
        "Set14: NIQE is missing of ours (seed 1), which decides nothing.",
    ]
    assert whole.text == "Undecided: 0 of 3 comparisons hold, the others lack a figure."
    assert (Figure((), without=(0,)).cell.mean, Figure((), without=(0,)).cell.count) == (None, 0)


def test_a_tolerance_asks_for_no_more_than_that() -> None:
    reference = Figure((26.0, 26.2))
    assert answers(Figure((25.9, 26.2)), reference, PSNR, 0.1) == "held"
    assert answers(Figure((25.7, 26.2)), reference, PSNR, 0.1) == "not held"
    assert answers(Figure((30.0,)), Figure((26.0,)), PSNR, 0.1) == "held"


def test_the_text_has_the_figures_that_decide() -> None:
    figures = {
        ("Set14", "ours", "NIQE"): Figure((3.9, 4.0, 4.1)),
        ("Set14", "theirs", "NIQE"): Figure((4.05, 4.15, 4.25)),
    }
    wanted = Comparison(better="ours", than="theirs", column="NIQE", groups=("Set14",))
    whole, part = judge([wanted], figures, [NIQE])
    assert part.text == (
        "Set14: NIQE of ours 4.00 ± 0.10, of theirs 4.15 ± 0.10; better by 0.15, the seeds' "
        "spread is 0.14."
    )
    assert whole.text == "Reproduced: all 1 comparisons hold."


def test_the_whole_claim_holds_if_every_part_does() -> None:
    low, high, unclear = Figure((1.0, 1.1)), Figure((2.0, 2.1)), Figure((1.05, 1.15))
    figures = {
        ("Set14", "a", "NIQE"): low,
        ("Set14", "b", "NIQE"): high,
        ("BSD100", "a", "NIQE"): low,
        ("BSD100", "b", "NIQE"): unclear,
        ("step", "a", "NIQE"): low,
    }
    comparison = Comparison(better="a", than="b", column="NIQE")
    assert [verdict.answer for verdict in judge([comparison], figures, [NIQE])] == [
        "undecided",
        "held",
        "undecided",
    ]
    limit = Limit(method="a", column="NIQE", at_most=1.0, groups=("step",))
    assert [verdict.answer for verdict in judge([comparison, limit], figures, [NIQE])] == [
        "not held",
        "held",
        "undecided",
        "not held",
    ]


def test_a_verdict_about_what_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="no column 'Ma'; there is NIQE"):
        judge([Comparison(better="a", than="b", column="Ma")], {}, [NIQE])
    with pytest.raises(InvalidConfig, match="Set14 has no NIQE of a"):
        judge([Comparison(better="a", than="b", column="NIQE")], {}, [NIQE])
