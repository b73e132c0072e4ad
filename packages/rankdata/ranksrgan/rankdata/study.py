"""The rating of a study: from people's votes, and from what an earlier run left, to scores."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ranksrgan.contracts.errors import InvalidDataset, UndefinedScore
from ranksrgan.contracts.some_names import some_names
from ranksrgan.metrics import Vote, read_votes
from ranksrgan.metrics.bradley_terry import Incomparable
from ranksrgan.metrics.score_table import without_folder
from ranksrgan.rankdata.judged_versions import Version
from ranksrgan.rankdata.study_ratings import Rating, StudyRating, read_ratings
from ranksrgan.rankdata.study_votes import COMPARISONS, read_comparisons

_log = logging.getLogger(__name__)

# By reference, since no vote compares versions of two.
_Votes = Mapping[str, Sequence[Vote]]
_Ratings = Mapping[str, Mapping[str, StudyRating]]


class Study(NamedTuple):
    """What is known of the versions after a run.

    Attributes:
        ratings: of what votes or earlier ratings name.
        apart: items without one although they are named: of references whose votes do not connect
            their versions, as is common while a study is under way.
        votes: all that the ratings are of; empty if some are not known any more, or their order
            mattered.
    """

    ratings: dict[str, StudyRating]
    apart: frozenset[str]
    votes: tuple[Vote, ...]


def rate_study(
    votes: Path, ratings: Path | None, rating: Rating, items: Mapping[str, Version]
) -> Study:
    """Rate versions, those of each reference among themselves. The log names what is apart.

    Args:
        votes: file of the new votes.
        ratings: file of the earlier ratings, if there are any. The votes that they are of may lie
            beside it.
        rating: how votes become scores.
        items: what may be judged, by name.

    Raises:
        InvalidDataset: a score or vote without an image, votes between versions of two references
            or of one with itself, or earlier ratings that cannot be gone on from.
        UndefinedScore: the votes on a reference are too one-sided to be rated, or on no reference
            they connect its versions; names it.
    """
    earlier: _Ratings = {}
    before: _Votes = {}
    summed = rating.method == "bradley-terry"  # by Elo the order of votes matters
    if ratings is not None:
        earlier = _earlier_ratings(ratings, rating, items)
        summed = summed and ratings.with_name(COMPARISONS).is_file()
        before = _earlier_votes(ratings, earlier) if summed else {}
    cast = _new_votes(votes, items)
    found, gaps = _rate(rating, earlier, before, cast)
    apart = frozenset(
        item
        for reference in gaps
        for item in (*_named(cast[reference]), *earlier.get(reference, ()))
    )
    found = {item: score for item, score in found.items() if item not in apart}
    if gaps:
        _tell(gaps, of=len(cast), all_apart=not found)
    known = [vote for by in (before, cast) for of in by.values() for vote in of]
    return Study(
        found, apart, tuple(vote for vote in known if vote.left in found) if summed else ()
    )


def _earlier_ratings(
    file: Path, rating: Rating, items: Mapping[str, Version]
) -> dict[str, dict[str, StudyRating]]:
    """The ratings of a file, by reference."""
    earlier: dict[str, dict[str, StudyRating]] = defaultdict(dict)
    for item, known in read_ratings(file, rating).items():
        earlier[_reference(item, file, items)][item] = known
    return dict(earlier)


def _earlier_votes(ratings: Path, earlier: _Ratings) -> dict[str, list[Vote]]:
    """The votes that earlier ratings are of, which lie beside them; by reference.

    Raises:
        InvalidDataset: they are those of other ratings, or no such file.
    """
    path = ratings.with_name(COMPARISONS)
    votes = read_comparisons(path)
    rated = {item: reference for reference, of in earlier.items() for item in of}
    if _named(votes) != rated.keys() or any(
        rated[left] != rated[right] for left, right, _ in votes
    ):
        raise InvalidDataset(
            f"{path} holds votes on other versions than {ratings} rates; the two are of one "
            "dataset, and without the first its votes are taken from the intervals of the second",
            field=str(path),
        )
    before: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        before[rated[vote.left]].append(vote)
    return dict(before)


def _new_votes(file: Path, items: Mapping[str, Version]) -> dict[str, list[Vote]]:
    """The votes of a file, by reference; items are named without folder."""
    votes: dict[str, list[Vote]] = defaultdict(list)
    for vote in read_votes(file):
        left, right = without_folder(vote.left), without_folder(vote.right)
        if left == right:
            raise InvalidDataset(
                f"{file} has a vote between {vote.left} and {vote.right}, which are one "
                f"item here, {left}: versions are known by their names without folder",
                field=str(file),
            )
        reference = _reference(left, file, items)
        if _reference(right, file, items) != reference:
            raise InvalidDataset(
                f"{file} has a vote between {left} and {right}, which are "
                "versions of two references",
                field=str(file),
            )
        votes[reference].append(Vote(left, right, vote.outcome))
    return dict(votes)


def _rate(
    rating: Rating, earlier: _Ratings, before: _Votes, cast: _Votes
) -> tuple[dict[str, StudyRating], dict[str, str]]:
    """Ratings of all items, and of each reference whose votes do not connect them, why.

    Where the earlier votes are known they are rated anew with the new ones, else their ratings are
    gone on from. References without a new vote keep their ratings.
    """
    ratings = {item: known for of in earlier.values() for item, known in of.items()}
    gaps: dict[str, str] = {}
    for reference, votes in cast.items():
        try:
            if reference in before:
                ratings |= rating.rate([*before[reference], *votes], {})
            else:
                ratings |= rating.rate(votes, earlier.get(reference, {}))
        except Incomparable as error:
            gaps[reference] = str(error)
        except UndefinedScore as error:
            raise UndefinedScore(f"{reference}: {error}", field="votes") from error
    return ratings, gaps


def _tell(gaps: Mapping[str, str], *, of: int, all_apart: bool) -> None:
    """Log the references that are left out of so many with votes; refuse if no other is left."""
    told = some_names([f"{reference}: {gap}" for reference, gap in gaps.items()])
    if all_apart:
        raise UndefinedScore(
            f"no reference has votes that connect its versions ({told}): more "
            "votes would, and rating.method=elo rates those that there are",
            field="votes",
        )
    _log.warning(
        "%d of %d references with votes are left out, since the votes do not connect their "
        "versions (rating.method=elo rates them too): %s",
        *(len(gaps), of, told),
    )


def _named(votes: Sequence[Vote]) -> set[str]:
    """The items of votes."""
    return {item for vote in votes for item in (vote.left, vote.right)}


def _reference(item: str, file: Path, items: Mapping[str, Version]) -> str:
    """Of an item that a file names."""
    if item not in items:
        raise InvalidDataset(f"{file} judges {item}, of which there is no image", field=str(file))
    return items[item].reference
