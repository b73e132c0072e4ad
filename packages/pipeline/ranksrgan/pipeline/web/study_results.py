"""What a study's votes say: the CSV file that rank data reads, and ratings of the methods."""

from __future__ import annotations

import csv
import io
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import UndefinedScore
from ranksrgan.metrics import Vote, bradley_terry, elo
from ranksrgan.pipeline.web.study import REFERENCE, Study, item_name
from ranksrgan.pipeline.web.vote_book import Ballot, Choice

COLUMNS = (
    *("left", "right", "winner", "content", "left_method", "right_method"),
    *("rater", "position", "time", "milliseconds"),
)

_OUTCOME: dict[Choice, float] = {"left": 1.0, "right": 0.0, "tie": 0.5}

# Ties with an imaginary method: without them, one that never lost would have no finite rating.
_PRIOR = 0.5


@dataclass(frozen=True)
class Standing:
    """How a method fares over all contents.

    Attributes:
        method: its name.
        elo: its rating, as `elo` makes it of the votes in their order.
        strength: its rating by Bradley and Terry, which needs no order; None, as the next two, if
            votes do not connect all methods.
        lowest, highest: where ``strength`` lies with 95 % confidence, as far as votes are
            independent.
        wins, ties, losses: of its votes.
    """

    method: str
    elo: float
    strength: float | None
    lowest: float | None
    highest: float | None
    wins: int
    ties: int
    losses: int


def standings(ballots: Sequence[Ballot]) -> list[Standing]:
    """All methods with votes, the best first."""
    if not ballots:
        return []
    votes = [
        Vote(ballot.showing.left, ballot.showing.right, _OUTCOME[ballot.choice])
        for ballot in ballots
    ]
    strengths: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    with suppress(UndefinedScore):
        fitted = bradley_terry(votes, prior=_PRIOR)
        strengths, intervals = fitted.scores(), fitted.intervals()
    outcomes = Counter(
        (method, outcome)
        for left, right, result in votes
        for method, outcome in ((left, result), (right, 1 - result))
    )
    found = []
    for method, rating in elo(votes).scores.items():
        lowest, highest = intervals.get(method, (None, None))
        counts = (outcomes[method, outcome] for outcome in (1.0, 0.5, 0.0))
        found.append(Standing(method, rating, strengths.get(method), lowest, highest, *counts))
    return sorted(found, key=lambda standing: -standing.elo)


def votes_csv(ballots: Iterable[Ballot]) -> str:
    """The votes in the form of ``ranksrgan.metrics.votes``, items named by `item_name`."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for ballot in ballots:
        pair, left, right = ballot.showing
        items = item_name(pair.content, left), item_name(pair.content, right)
        winner = dict(zip(("left", "right"), items, strict=True)).get(ballot.choice, "tie")
        writer.writerow(
            [
                *(*items, winner, pair.content, left, right),
                *(ballot.rater, ballot.position, ballot.time, ballot.milliseconds),
            ]
        )
    return file.getvalue()


def votes_on_images(
    ballots: Iterable[Ballot], study: Study
) -> tuple[list[Ballot], Counter[tuple[str, str]]]:
    """The votes on images that a study has, and those that it lacks with their numbers of votes.

    Images may go while a study is under way; rank data takes no vote on what it cannot see.
    """
    kept: list[Ballot] = []
    lacking: Counter[tuple[str, str]] = Counter()
    for ballot in ballots:
        content, *methods = ballot.showing.pair
        gone = [method for method in methods if method not in study.images.get(content, {})]
        lacking.update((content, method) for method in gone)
        if not gone:
            kept.append(ballot)
    return kept, lacking


def copy_versions(study: Study, folder: Path) -> int:
    """Copy a study's images into one folder under the names that its votes have.

    Rank data reads that folder as ``distorted``. The method ``hr`` is left out: rank data has it
    among its ``references``. Returns how many there are.

    Raises:
        DiskFull: there is no room.
    """
    count = 0
    for content, methods in study.images.items():
        for method, path in methods.items():
            if method == REFERENCE:
                continue
            target = folder / f"{item_name(content, method)}{path.suffix}"
            with atomic.replacing(target) as temporary:
                shutil.copyfile(path, temporary)
            count += 1
    return count
