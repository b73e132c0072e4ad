"""Pairwise judgements: which of two images somebody prefers.

    left,right,winner
    baboon_srgan,baboon_srresnet,baboon_srgan
    baboon_srgan,baboon_esrgan,tie

Items are known by what the file calls them, less an image suffix: ``baboon_srgan.png`` is
``baboon_srgan``, and ``srgan/baboon.png`` another item than ``esrgan/baboon.png``.

`elo` and `bradley_terry` turn them into scores.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ranksrgan.contracts.errors import InvalidDataset, InvalidInput
from ranksrgan.metrics.score_table import read_rows, without_suffix

_COLUMNS = ("left", "right", "winner")
_OUTCOMES = {"left": 1.0, "right": 0.0, "tie": 0.5}


class Vote(NamedTuple):
    """One judgement.

    Attributes:
        left, right: the two items, which differ.
        outcome: 1 if the left one is preferred, 0 if the right one is, 0.5 for a tie. Values
            between stand for the share of several people.
    """

    left: str
    right: str
    outcome: float


def read_votes(path: Path) -> list[Vote]:
    """Read votes from a CSV file with the columns ``left``, ``right`` and ``winner``.

    The winner is the name of one of the two, or ``left``, ``right`` or ``tie``; a name goes first.
    Other columns are ignored.

    Raises:
        InvalidDataset: not such a file; the message begins with file and line.
    """
    votes: list[Vote] = []
    columns: list[str] | None = None
    for place, cells in read_rows(path):
        if columns is None:
            columns = cells
            if not set(_COLUMNS) <= set(columns):
                raise InvalidDataset(
                    f"{place}: the first line names the columns, {','.join(_COLUMNS)} among them",
                    field=place,
                )
            if len(set(columns)) != len(columns):
                raise InvalidDataset(f"{place}: two columns of one name", field=place)
            continue
        if len(cells) != len(columns):
            raise InvalidDataset(
                f"{place}: {len(cells)} cells where {','.join(columns)} are wanted", field=place
            )
        row = dict(zip(columns, cells, strict=True))
        left, right, winner = (row[column] for column in _COLUMNS)
        vote = _vote(without_suffix(left), without_suffix(right), winner)
        if vote is None:
            raise InvalidDataset(
                f"{place}: {','.join((left, right, winner))} is no vote: two different items, and "
                "the name of one of them, left, right or tie, are wanted",
                field=place,
            )
        votes.append(vote)
    if not votes:
        raise InvalidDataset(f"{path} holds no vote", field=str(path))
    return votes


def _vote(left: str, right: str, winner: str) -> Vote | None:
    """None if it is none."""
    outcome = {left: 1.0, right: 0.0}.get(without_suffix(winner), _OUTCOMES.get(winner))
    if not left or not right or left == right or outcome is None:
        return None
    return Vote(left, right, outcome)


def check_votes(votes: list[Vote]) -> None:
    """Check what `elo` and `bradley_terry` take.

    Raises:
        InvalidInput: no vote, an item against itself, or an outcome that is not in 0..1.
    """
    if not votes:
        raise InvalidInput("there is no vote", field="votes")
    for position, vote in enumerate(votes):
        if vote.left == vote.right:
            raise InvalidInput(f"vote {position} is {vote.left} against itself", field="votes")
        if not 0 <= vote.outcome <= 1:
            raise InvalidInput(
                f"vote {position} has the outcome {vote.outcome}; 1 (left), 0 (right) or between "
                "is wanted",
                field="votes",
            )
