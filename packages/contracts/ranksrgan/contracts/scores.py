"""What is asked of what a scorer returns: anybody's object may be one, or its service."""

from __future__ import annotations

from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
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
