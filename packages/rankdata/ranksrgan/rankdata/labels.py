"""What orders the versions of a crop, and the reason where there is nothing that could."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from ranksrgan.contracts import Scorer, ScorerInfo, cancellation, open_scorer
from ranksrgan.contracts.errors import ImageTooSmall, InvalidConfig, InvalidInput, UndefinedScore
from ranksrgan.contracts.scores import require_scores
from ranksrgan.contracts.squares import against_square, smallest_square
from ranksrgan.rankdata.config import WHOLE, BuildConfig

#: Crops that a metric gets at a time.
BATCH = 16


@dataclass(frozen=True)
class Labels:
    """The label of a dataset and the further metrics that are stored beside it.

    Attributes:
        info: what the label is. Of the order of the levels: 1 is the best of them.
        scorer: the metric; None where the order of the levels is the label.
        further: more metrics.
    """

    info: ScorerInfo
    scorer: Scorer | None
    further: tuple[Scorer, ...]

    @classmethod
    def open(cls, config: BuildConfig, scorer: Scorer | None = None) -> Self:
        """Open the metrics of a configuration.

        Args:
            config: names them.
            scorer: the metric itself, instead of opening ``config.metric``.

        Raises:
            InvalidConfig: one metric twice.
            InvalidInput: a scorer is given and nothing is to be scored with it.
            ImageTooSmall: crops are smaller than the smallest side of a metric.
            UnknownName, InvalidCheckpoint, ServiceUnavailable: see `open_scorer`.
        """
        if config.label == "order":
            if scorer is not None:
                raise InvalidInput("label: order needs no scorer", field="scorer")
            info = _order_of(len(config.levels))
        else:
            scorer = scorer or open_scorer(config.metric, pinned=True)
            info = scorer.info
        further = tuple(open_scorer(spec, pinned=True) for spec in config.further)
        infos = [info, *(other.info for other in further)]
        for index, other in enumerate(infos):
            if other.name in (earlier.name for earlier in infos[:index]):
                raise InvalidConfig(f"further: {other.name} is there already", field="further")
        labels = cls(info, scorer, further)
        for one in labels._scorers:
            if config.crop != WHOLE and config.crop < one.info.min_side:
                raise _too_few(one, config.crop, f"both sides need {one.info.min_side}")
        return labels

    @property
    def need_references(self) -> bool:
        """Whether one of the metrics compares with the original."""
        return any(scorer.info.needs_reference for scorer in self._scorers)

    @property
    def _scorers(self) -> tuple[Scorer, ...]:
        return (*([self.scorer] if self.scorer else []), *self.further)

    def check_parameters(self) -> None:
        """Have every metric score a small square of noise, for which it needs its parameters.

        Raises:
            MissingAsset: they are not here; says where to get them.
            RankSRGANError: anything else that is no matter of the image.
        """
        for scorer in self._scorers:
            # NIQE of its smallest image is undefined, and of a sum nothing is asked after that.
            against_square(scorer, 2 * scorer.info.min_side)

    def check_crop(self, side: int) -> None:
        """Have every metric score one square of noise: its smallest side may not be enough.

        Args:
            side: of the crops.

        Raises:
            ImageTooSmall: a metric needs larger crops; says which would do.
            RankSRGANError: anything that is not a matter of the size (service gone, cancelled).
        """
        for scorer in self._scorers:
            problem = against_square(scorer, side)
            if problem is not None:
                raise _too_few(scorer, side, problem)

    def of(
        self, crops: Tensor, references: Tensor | None, place: int
    ) -> list[tuple[float, ...] | str]:
        """Label crops of one level.

        Args:
            crops: ``(P, 3, height, width)`` uint8.
            references: the same crops of the original, if `need_references`.
            place: of the level in the list, 1 for the first.

        Returns:
            For each crop the label and the values of the further metrics; or the reason why one of
            them does not exist, ``"undefined_score"`` say, with the name of a further metric.

        Raises:
            RankSRGANError: anything that is not a matter of the crop (service gone, cancelled).
        """
        columns: list[list[float | str]] = [
            [float(place)] * len(crops)
            if self.scorer is None
            else score_crops(self.scorer, crops, references)
        ]
        for scorer in self.further:
            outcomes = score_crops(scorer, crops, references)
            columns.append([_naming(outcome, scorer.info.name) for outcome in outcomes])
        return [_all_or_reason(values) for values in zip(*columns, strict=True)]


def score_crops(
    scorer: Scorer, crops: Tensor, references: Tensor | None = None
) -> list[float | str]:
    """Score each crop; a crop that the metric cannot score yields the reason instead.

    Args:
        scorer: the metric.
        crops: ``(P, 3, height, width)`` uint8.
        references: the same shape; a metric that compares with nothing does not get them.

    Returns:
        One entry per crop: the score, or ``"image_too_small"`` or ``"undefined_score"``.

    Raises:
        InvalidInput: the scorer returned other than a score for each crop; names it.
        RankSRGANError: anything that is not a matter of the crop (service gone, cancelled).
    """
    if not scorer.info.needs_reference:
        references = None
    outcomes: list[float | str] = []
    for start in range(0, len(crops), BATCH):
        chosen = slice(start, start + BATCH)
        outcomes += _score(
            scorer, crops[chosen], None if references is None else references[chosen]
        )
    return outcomes


def _score(scorer: Scorer, crops: Tensor, references: Tensor | None) -> list[float | str]:
    cancellation.check()
    try:
        scores = scorer.score(crops, references)
    except (ImageTooSmall, UndefinedScore) as error:
        # The error does not say which of them it was: halve until it is alone.
        if len(crops) == 1:
            return [type(error).code.lower()]
        half = len(crops) // 2
        return [
            outcome
            for part in (slice(half), slice(half, None))
            for outcome in _score(
                scorer, crops[part], None if references is None else references[part]
            )
        ]
    require_scores(scores, scorer.info, len(crops))
    return [
        UndefinedScore.code.lower() if math.isnan(score) else score for score in scores.tolist()
    ]


def _too_few(scorer: Scorer, side: int, problem: str) -> ImageTooSmall:
    enough = smallest_square(scorer, side)
    larger = "" if enough is None else f"; crop={enough} would do"
    return ImageTooSmall(
        f"crop: {side} pixels a side are too few for {scorer.info.name}: {problem}{larger}",
        field="crop",
    )


def _order_of(levels: int) -> ScorerInfo:
    return ScorerInfo(
        name="order",
        version="1",
        higher_is_better=False,
        needs_reference=False,
        differentiable=False,
        min_side=1,
        lowest=1.0,
        highest=float(levels),
    )


def _naming(outcome: float | str, metric: str) -> float | str:
    return f"{outcome}:{metric}" if isinstance(outcome, str) else outcome


def _all_or_reason(values: tuple[float | str, ...]) -> tuple[float, ...] | str:
    numbers: list[float] = []
    for value in values:
        if isinstance(value, str):
            return value
        numbers.append(value)
    return tuple(numbers)
