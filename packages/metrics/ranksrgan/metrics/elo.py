"""Elo ratings from pairwise votes, as PIPAL makes its opinion scores.

A. E. Elo, "The rating of chessplayers, past and present", 1978. J. Gu, H. Cai, H. Chen, X. Ye,
J. S. Ren, C. Dong, "PIPAL: a large-scale image quality assessment dataset for perceptual image
restoration", ECCV 2020, rates images so, since ratings can be extended with new images later.

**Ratings depend on the order of the votes.** Each vote moves two ratings by what they are at that
moment, and the same votes in another order end elsewhere: of 40 simulated items that spread by 120
points, with 200 votes each, by 41 points (root of the mean square). The mean over the last updates,
`EloRatings.scores`, moves by 26. With fewer than some hundred votes an item, ratings are still on
their way from where they started, and their spread is too small. Where all votes are there at once,
`bradley_terry` needs no order and is closer to the truth.

**Extending a study.** What it found before goes in again, and the old scores are where the ratings
go on from: they are the better estimate of the two, and an item without a new vote keeps its score
to the bit. The sum of the scores stays what it was, and new items enter at their mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics.votes import Vote, check_votes

#: The largest ``k``, ``initial`` and ``scale``, and the least ``scale``.
LARGEST, LEAST_SCALE = 1e6, 1e-3

# Of a rating to go on from: some ``LARGEST`` away from the initial one.
_LARGEST_RATING = 1e12


@dataclass(frozen=True)
class EloRatings:
    """What `elo` finds, by item in the order in which they came.

    Attributes:
        ratings: after the last vote.
        scores: the mean of each rating over the last share of the updates: PIPAL's MOS. Give these,
            or all of this, back to `elo` to extend the study by votes or items.
    """

    ratings: dict[str, float]
    scores: dict[str, float]


def elo(
    votes: Iterable[Vote],
    ratings: EloRatings | Mapping[str, float] | None = None,
    *,
    k: float = 16.0,
    initial: float = 1400.0,
    scale: float = 400.0,
    tail: float = 0.3,
) -> EloRatings:
    """Rate items by votes, one after the other.

    ``R_left += k (S - P)`` and ``R_right -= k (S - P)``, where S is the outcome of the vote and P
    is `win_probability` before it. What one gains the other loses: the sums of all ratings and of
    all scores never change, up to the last rounding of each, however many votes there are.

    Args:
        votes: in the order in which they were given.
        ratings: of items already rated, where they go on from: what an earlier call returned, which
            stands for its scores, or a number for each. Items that are not among them enter at the
            mean of these, so that the level stays where it is. Whoever has no vote keeps theirs.
        k: how far one vote moves a rating at most; at most 1e6.
        initial: the rating of an item at first, where there are no ratings yet; within 1e6 of 0.
        scale: an item that is rated ``scale`` higher wins ten times in eleven; 1e-3 to 1e6.
        tail: share of the updates, counted from the last, that the scores are means of.

    Raises:
        InvalidInput: no vote, an item against itself, an outcome outside 0..1, a rating beyond
            1e12, or a parameter out of its range.
    """
    votes = list(votes)
    check_votes(votes)
    _check_parameters(k, initial, scale, tail)
    now = dict(ratings.scores if isinstance(ratings, EloRatings) else ratings or {})
    for item, rating in now.items():
        if not abs(rating) <= _LARGEST_RATING:
            raise InvalidInput(
                f"the rating {rating} of {item} is not within {_LARGEST_RATING:g} of 0",
                field="ratings",
            )
    entry = math.fsum(now.values()) / len(now) if now else initial
    for vote in votes:
        now.setdefault(vote.left, entry)
        now.setdefault(vote.right, entry)

    updates = max(1, round(tail * len(votes)))
    # Sums that are rounded once, at the end: a million roundings would shift the level.
    ratings_of = {item: [at] for item, at in now.items()}
    scores_of = {item: [at] for item, at in now.items()}
    for position, (left, right, outcome) in enumerate(votes):
        change = k * (outcome - win_probability(now[left], now[right], scale))
        # The change is part of every rating from here on, so of this share of the last updates.
        in_mean = change * (min(len(votes) - position, updates) / updates)
        for item, sign in ((left, 1), (right, -1)):
            now[item] += sign * change
            ratings_of[item].append(sign * change)
            scores_of[item].append(sign * in_mean)
    return EloRatings(
        {item: math.fsum(parts) for item, parts in ratings_of.items()},
        {item: math.fsum(parts) for item, parts in scores_of.items()},
    )


def win_probability(rating: float, opponent: float, scale: float = 400.0) -> float:
    """``1 / (1 + 10^((opponent - rating) / scale))``: how probably the first is preferred."""
    exponent = (opponent - rating) / scale
    return 1 / (1 + math.pow(10, min(exponent, 300)))


def _check_parameters(k: float, initial: float, scale: float, tail: float) -> None:
    if not 0 < k <= LARGEST:
        raise InvalidInput(f"k is {k}; more than 0 and at most {LARGEST:g} is wanted", field="k")
    if not LEAST_SCALE <= scale <= LARGEST:
        raise InvalidInput(
            f"scale is {scale}; {LEAST_SCALE:g} to {LARGEST:g} is wanted", field="scale"
        )
    if not abs(initial) <= LARGEST:
        raise InvalidInput(
            f"initial is {initial}; {-LARGEST:g} to {LARGEST:g} is wanted", field="initial"
        )
    if not 0 < tail <= 1:
        raise InvalidInput(f"tail is {tail}; more than 0 and at most 1 is wanted", field="tail")
