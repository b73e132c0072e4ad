"""From figures to answers: the arithmetic that says whether a claim has held.

The spread of a figure is the sample standard deviation over the seeds. Two methods differ if the
difference of their means is larger than the spread of that difference, sqrt(a^2 + b^2). What was
not trained (a published generator, a computed bound) has no spread. Where a figure is missing, of
all seeds or of one, nothing is decided: the other seeds do not speak for it.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.pipeline.reproduction.config import Comparison, Limit
from ranksrgan.pipeline.reproduction.findings import Answer, Cell, Column, Verdict


@dataclass(frozen=True)
class Figure:
    """One number for each seed.

    Attributes:
        values: of the seeds that have one.
        fixed: whether no seed has a part in it.
        without: the seeds that have none.
    """

    values: tuple[float, ...]
    fixed: bool = False
    without: tuple[int, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether no seed is missing."""
        return bool(self.values) and not self.without

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
        if not self.values:
            return Cell(None, count=0)
        return Cell(self.mean, None if self.fixed else self.spread, len(self.values))


#: Figures by group of rows, row and column.
Figures = Mapping[tuple[str, str, str], Figure]

#: Why comparisons are undecided, in the order in which the headline says so.
_MISSING = "lack a figure"
_ONE_SEED = "are of one seed, which tells no spread"
_WITHIN = "are within the seeds' spread"


def judge(
    wanted: Sequence[Comparison | Limit], figures: Figures, columns: Sequence[Column]
) -> tuple[Verdict, ...]:
    """The answer to each part of the claim in each group of rows, and before them to the whole.

    Raises:
        InvalidConfig: a verdict names a row or column that the table does not have.
    """
    by_name = {column.name: column for column in columns}
    parts: list[Verdict] = []
    reasons: Counter[str] = Counter()
    for part in wanted:
        if part.column not in by_name:
            raise InvalidConfig(
                f"verdicts: no column {part.column!r}; there is {', '.join(by_name)}",
                field="verdicts",
            )
        for group in part.groups:
            found = {row: _figure(figures, group, row, part.column) for row in _rows(part)}
            parts.append(_judge_one(part, group, found, by_name[part.column]))
            if parts[-1].answer == "undecided":
                reasons[_why_undecided(found.values())] += 1
    return (_whole(parts, reasons), *parts)


def _rows(part: Comparison | Limit) -> tuple[str, ...]:
    return (part.method,) if isinstance(part, Limit) else (part.better, part.than)


def _figure(figures: Figures, group: str, row: str, column: str) -> Figure:
    try:
        return figures[group, row, column]
    except KeyError:
        raise InvalidConfig(
            f"verdicts: {group} has no {column} of {row}", field="verdicts"
        ) from None


def _why_undecided(found: Collection[Figure]) -> str:
    if not all(figure.is_whole for figure in found):
        return _MISSING
    return _ONE_SEED if any(figure.spread is None for figure in found) else _WITHIN


def _judge_one(
    part: Comparison | Limit, group: str, found: Mapping[str, Figure], column: Column
) -> Verdict:
    gaps = [gap(row, figure) for row, figure in found.items() if not figure.is_whole]
    if gaps:
        return Verdict(
            f"{_where(group)}{column.name} is missing {' and '.join(gaps)}, which decides nothing.",
            "undecided",
        )
    if isinstance(part, Limit):
        return _limited(part, group, found[part.method], column)
    if column.higher_is_better is None:
        raise InvalidConfig(f"verdicts: {column.name} has no better direction", field="verdicts")
    ours, theirs = found[part.better], found[part.than]
    sign = 1 if column.higher_is_better else -1
    gain = sign * (ours.mean - theirs.mean)
    shown = (
        f"{_where(group)}{column.name} of {part.better} {_shown(ours, column)}, of {part.than} "
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


def gap(row: str, figure: Figure) -> str:
    """What is missing of a figure that is not whole."""
    if not figure.without:
        return f"of {row}"
    seeds = ", ".join(map(str, figure.without))
    return f"of {row} (seed{'s' if len(figure.without) > 1 else ''} {seeds})"


def _limited(part: Limit, group: str, ours: Figure, column: Column) -> Verdict:
    return Verdict(
        f"{_where(group)}{column.name} of {part.method} {_shown(ours, column)}; at most "
        f"{part.at_most:g} was to be shown.",
        "held" if ours.mean <= part.at_most else "not held",
    )


def _whole(parts: Sequence[Verdict], reasons: Mapping[str, int]) -> Verdict:
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
    *first, last = [why for why in (_MISSING, _ONE_SEED, _WITHIN) if reasons[why]]
    some = "".join(f"{reasons[why]} {why}, " for why in first) + ("and " if first else "")
    return Verdict(
        f"Undecided: {held} of {len(answers)} comparisons hold, {some}the others {last}.",
        "undecided",
    )


def _shown(figure: Figure, column: Column) -> str:
    text = f"{figure.mean:.{column.digits}f}"
    if not figure.fixed and figure.spread is not None:
        text += f" ± {figure.spread:.{column.digits}f}"
    return text + _unit(column)


def _where(group: str) -> str:
    return f"{group}: " if group else ""


def _unit(column: Column) -> str:
    return f" {column.unit}" if column.unit else ""
