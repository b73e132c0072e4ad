"""How people's votes become scores, and the file that lets a study be extended.

A dataset of votes holds the ratings that its scores are, in ``ratings.csv``::

    item,method,scale,score,low,high
    cat_bicubic,bradley-terry,400.0,1391.25,1290.5,1492.0

The next run takes that file and the votes that came since, and the earlier votes themselves if
they are known still: see `ranksrgan.rankdata.study_votes`. References without a new vote keep their
lines. ``low`` and ``high`` bound what a score of Bradley-Terry's is, relative to the mean of its
reference, with 95 % confidence; Elo's have none.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field

from ranksrgan.contracts import atomic
from ranksrgan.contracts.config import Config
from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.metrics import Vote, bradley_terry, elo
from ranksrgan.metrics.bradley_terry import Strength, check_prior
from ranksrgan.metrics.elo import LARGEST, LEAST_SCALE
from ranksrgan.metrics.score_table import finite_number, image_name, read_rows_below

#: Of a dataset of votes, in its folder.
RATINGS = "ratings.csv"

_COLUMNS = ("item", "method", "scale", "score", "low", "high")
_CONFIDENCE = 0.95

# Further off, neither scores nor their differences are held by float64.
_Initial = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
_Scale = Annotated[float, Field(ge=LEAST_SCALE, le=LARGEST)]


class StudyRating(NamedTuple):
    """What votes say of an item.

    Attributes:
        score: higher is better.
        low, high: around it, with 95 % confidence; None for Elo.
    """

    score: float
    low: float | None = None
    high: float | None = None


class EloRating(Config):
    """Parameters of `elo`, its defaults those of that function."""

    method: Literal["elo"]
    k: Annotated[float, Field(gt=0, le=LARGEST)] = 16.0
    initial: _Initial = 1400.0
    scale: _Scale = 400.0
    tail: Annotated[float, Field(gt=0, le=1)] = 0.3

    def rate(
        self, votes: Sequence[Vote], earlier: Mapping[str, StudyRating]
    ) -> dict[str, StudyRating]:
        """Ratings of the items of votes and of earlier ones; the order of the votes matters."""
        known = {item: rating.score for item, rating in earlier.items()}
        found = elo(votes, known, k=self.k, initial=self.initial, scale=self.scale, tail=self.tail)
        return {item: StudyRating(score) for item, score in found.scores.items()}


def _usable_prior(prior: float) -> float:
    check_prior(prior)
    return prior


class BradleyTerryRating(Config):
    """Parameters of `bradley_terry`, and the scale of its scores.

    Half a vote as prior, unlike there: among a few people's votes there often is a version that
    never lost, which has no finite strength without one.
    """

    method: Literal["bradley-terry"] = "bradley-terry"
    prior: Annotated[float, AfterValidator(_usable_prior)] = 0.5
    initial: _Initial = 1400.0
    scale: _Scale = 400.0

    def rate(
        self, votes: Sequence[Vote], earlier: Mapping[str, StudyRating]
    ) -> dict[str, StudyRating]:
        """Ratings, with intervals, of the items of votes and of earlier ones, all of one reference.

        Their mean is ``initial``, new items among them.

        Raises:
            Incomparable, UndefinedScore: see `bradley_terry`.
        """
        known = {item: self._strength(rating) for item, rating in earlier.items()}
        fitted = bradley_terry(votes, prior=self.prior, earlier=known)
        scores = fitted.scores(self.initial, self.scale)
        intervals = fitted.intervals(_CONFIDENCE, self.initial, self.scale)
        return {item: StudyRating(score, *intervals[item]) for item, score in scores.items()}

    def _strength(self, rating: StudyRating) -> Strength:
        unit = self.scale / math.log(10)
        width = (rating.high or 0.0) - (rating.low or 0.0)
        reach = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2)
        return Strength((rating.score - self.initial) / unit, width / 2 / reach / unit)


Rating = EloRating | BradleyTerryRating


def read_ratings(path: Path, rating: Rating) -> dict[str, StudyRating]:
    """Read a file that `write_ratings` wrote.

    Args:
        path: of the file.
        rating: what goes on from there.

    Raises:
        InvalidDataset: not such a file, an item twice, or ratings of another method or scale; the
            message begins with file and line.
    """
    ratings: dict[str, StudyRating] = {}
    for place, cells in read_rows_below(path, _COLUMNS, "ratings"):
        if len(cells) != len(_COLUMNS):
            raise InvalidDataset(
                f"{place}: {len(cells)} cells where {','.join(_COLUMNS)} are wanted", field=place
            )
        item, method, scale, *numbers = cells
        if method != rating.method or finite_number(scale) != rating.scale:
            raise InvalidDataset(
                f"{place}: a rating by {method} of scale {scale} does not go on as one by "
                f"{rating.method} of scale {rating.scale}",
                field=place,
            )
        if not (name := image_name(item)) or name in ratings:
            raise InvalidDataset(
                f"{place}: {item!r} is no item, or one that has a rating already", field=place
            )
        ratings[name] = _rating(place, numbers, intervals=method == "bradley-terry")
    if not ratings:
        raise InvalidDataset(f"{path} holds no rating", field=str(path))
    return ratings


def write_ratings(path: Path, ratings: Mapping[str, StudyRating], rating: Rating) -> None:
    """Write ratings, to the last digit, whole or not at all.

    Raises:
        DiskFull: there is no room for it.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for item, found in sorted(ratings.items()):
        writer.writerow([item, rating.method, rating.scale, *found])
    atomic.write_text(path, file.getvalue())


def _rating(place: str, cells: Sequence[str], *, intervals: bool) -> StudyRating:
    score, low, high = (finite_number(cell) for cell in cells)
    if intervals:
        if score is not None and low is not None and high is not None and low < score < high:
            return StudyRating(score, low, high)
    elif score is not None and not any(cells[1:]):
        return StudyRating(score)
    wanted = "low < score < high" if intervals else "a score and neither low nor high"
    raise InvalidDataset(
        f"{place}: {','.join(cells)} is no rating: finite numbers are wanted, {wanted}", field=place
    )
