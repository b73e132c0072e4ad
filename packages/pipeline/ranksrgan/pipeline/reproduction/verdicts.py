"""From figures to answers: the arithmetic that says whether a claim has held.

The spread of a figure is the sample standard deviation over the seeds. Two methods differ if the
difference of their means is larger than the spread of that difference, sqrt(a^2 + b^2). What was
not trained (a published generator, a computed bound) has no spread.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.pipeline.reproduction.config import Comparison, Limit
from ranksrgan.pipeline.reproduction.findings import Answer, Cell, Column, Verdict


@dataclass(frozen=True)
class Figure:
    """One number for each seed.

    Attributes:
        values: at least one.
        fixed: whether no seed has a part in it.
    """

    values: tuple[float, ...]
    fixed: bool = False

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """None where one seed says nothing about it."""
        if self.fixed:
            return 0.0
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def cell(self) -> Cell:
        """As the table has it."""
        return Cell(self.mean, None if self.fixed else self.spread, len(self.values))


#: Figures by group of rows, row and column.
Figures = Mapping[tuple[str, str, str], Figure]


def judge(
    wanted: Sequence[Comparison | Limit], figures: Figures, columns: Sequence[Column]
) -> tuple[Verdict, ...]:
    """The answer to each part of the claim in each group of rows, and before them to the whole.

    Raises:
        InvalidConfig: a verdict names a row or column that the table does not have.
    """
    by_name = {column.name: column for column in columns}
    parts: list[Verdict] = []
    of_one_seed = 0
    for part in wanted:
        if part.column not in by_name:
            raise InvalidConfig(
                f"verdicts: no column {part.column!r}; there is {', '.join(by_name)}",
                field="verdicts",
            )
        for group in part.groups:
            parts.append(_judge_one(part, group, figures, by_name[part.column]))
            of_one_seed += _tells_no_spread(part, group, figures)
    return (_whole(parts, of_one_seed), *parts)


def _tells_no_spread(part: Comparison | Limit, group: str, figures: Figures) -> bool:
    """Whether a comparison that has to exceed the seeds' spread is of one seed."""
    if isinstance(part, Limit) or part.tolerance is not None:
        return False
    return any(figures[group, row, part.column].spread is None for row in (part.better, part.than))


def _judge_one(part: Comparison | Limit, group: str, figures: Figures, column: Column) -> Verdict:
    def figure(row: str) -> Figure:
        try:
            return figures[group, row, part.column]
        except KeyError:
            raise InvalidConfig(
                f"verdicts: {group} has no {part.column} of {row}", field="verdicts"
            ) from None

    if isinstance(part, Limit):
        return _limited(part, group, figure(part.method), column)
    if column.higher_is_better is None:
        raise InvalidConfig(f"verdicts: {column.name} has no better direction", field="verdicts")
    ours, theirs = figure(part.better), figure(part.than)
    sign = 1 if column.higher_is_better else -1
    gain = sign * (ours.mean - theirs.mean)
    shown = (
        f"{group}: {column.name} of {part.better} {_shown(ours, column)}, of {part.than} "
        f"{_shown(theirs, column)}; "
    )
    size = f"{abs(gain):.{column.digits}f}{_unit(column)}"
    word = "better" if gain >= 0 else "worse"
    if part.tolerance is not None:
        answer: Answer = "held" if gain >= -part.tolerance else "not held"
        return Verdict(f"{shown}{word} by {size}, {part.tolerance:g} worse is allowed.", answer)
    if ours.spread is None or theirs.spread is None:
        return Verdict(f"{shown}{word} by {size}, one seed tells no spread.", "undecided")
    spread = math.hypot(ours.spread, theirs.spread)
    answer = "held" if gain > spread else "not held" if gain < -spread else "undecided"
    return Verdict(
        f"{shown}{word} by {size}, the seeds' spread is {spread:.{column.digits}f}.", answer
    )


def _limited(part: Limit, group: str, ours: Figure, column: Column) -> Verdict:
    where = f"{group}: " if group else ""
    return Verdict(
        f"{where}{column.name} of {part.method} {_shown(ours, column)}; at most "
        f"{part.at_most:g} was to be shown.",
        "held" if ours.mean <= part.at_most else "not held",
    )


def _whole(parts: Sequence[Verdict], of_one_seed: int) -> Verdict:
    answers = [part.answer for part in parts]
    held = answers.count("held")
    if held == len(answers):
        return Verdict(f"Reproduced: all {held} comparisons hold.", "held")
    if "not held" in answers:
        return Verdict(
            f"Not reproduced: {answers.count('not held')} of {len(answers)} comparisons came out "
            f"the other way, {answers.count('undecided')} are undecided, {held} hold.",
            "not held",
        )
    others = "the others are within the seeds' spread"
    if of_one_seed == answers.count("undecided"):
        others = "the others are of one seed, which tells no spread"
    elif of_one_seed:
        others = f"{of_one_seed} are of one seed, which tells no spread, and {others}"
    return Verdict(f"Undecided: {held} of {len(answers)} comparisons hold, {others}.", "undecided")


def _shown(figure: Figure, column: Column) -> str:
    text = f"{figure.mean:.{column.digits}f}"
    if not figure.fixed and figure.spread is not None:
        text += f" ± {figure.spread:.{column.digits}f}"
    return text + _unit(column)


def _unit(column: Column) -> str:
    return f" {column.unit}" if column.unit else ""
