"""Scores of crops, and the reason where there is none."""

from __future__ import annotations

import math

from torch import Tensor

from ranksrgan.contracts import Scorer, cancellation
from ranksrgan.contracts.errors import ImageTooSmall, UndefinedScore

_BATCH = 16


def score_crops(
    scorer: Scorer, crops: Tensor, references: Tensor | None = None
) -> list[float | str]:
    """Score each crop; a crop that the metric cannot score yields the reason instead.

    Args:
        scorer: the metric.
        crops: ``(P, 3, size, size)`` uint8.
        references: the same shape, for a full-reference metric.

    Returns:
        One entry per crop: the score, or ``"image_too_small"`` or ``"undefined_score"``.

    Raises:
        RankSRGANError: anything that is not a matter of the crop (service gone, cancelled).
    """
    outcomes: list[float | str] = []
    for start in range(0, len(crops), _BATCH):
        chosen = slice(start, start + _BATCH)
        outcomes += _score(
            scorer, crops[chosen], None if references is None else references[chosen]
        )
    return outcomes


def _score(scorer: Scorer, crops: Tensor, references: Tensor | None) -> list[float | str]:
    cancellation.check()
    try:
        scores = scorer.score(crops, references).tolist()
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
    return [UndefinedScore.code.lower() if math.isnan(score) else score for score in scores]
