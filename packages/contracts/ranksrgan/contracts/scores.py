"""What is asked of what a scorer returns: anybody's object may be one, or its service."""

from __future__ import annotations

from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput, UndefinedScore
from ranksrgan.contracts.image_tensor import class_name
from ranksrgan.contracts.scorer import ScorerInfo


def require_scores(scores: object, info: ScorerInfo, count: int) -> None:
    """Raise unless ``scores`` are one for each image.

    Those of another shape fail far from here, or are broadcast to a table of all with all.

    Args:
        scores: what `Scorer.score` returned.
        info: of the scorer.
        count: of the images.

    Raises:
        InvalidInput: no tensor, or another shape; names the scorer.
    """
    if isinstance(scores, Tensor) and scores.shape == (count,):
        return
    found = (
        f"the shape {tuple(scores.shape)}"
        if isinstance(scores, Tensor)
        else f"a {class_name(scores)}"
    )
    raise InvalidInput(
        f"the scorer {info.name} returned {found}; a torch.Tensor ({count},), a score for each "
        "image, is wanted",
        field=info.name,
    )


def require_defined(scores: Tensor, info: ScorerInfo) -> None:
    """Raise where a score is NaN, which has no rank and would be the mean of all. Infinity has one.

    Args:
        scores: ``(N,)``, see `require_scores`.
        info: of the scorer.

    Raises:
        UndefinedScore: names the scorer and the first such image.
    """
    undefined = scores.isnan()
    if bool(undefined.any()):
        raise UndefinedScore(
            f"the scorer {info.name} gave image {int(undefined.nonzero()[0, 0])} a score that is "
            "not a number",
            field="images",
        )
