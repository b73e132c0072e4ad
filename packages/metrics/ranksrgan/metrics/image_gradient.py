"""The derivative of each image's score by that image, for scorers written in PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.image_tensor import require_tensor


def image_gradient(
    score: Callable[[Tensor, Tensor | None], Tensor],
    images: Tensor,
    references: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What `DifferentiableScorer.gradient` returns, from a score that carries gradients.

    Args:
        score: as `Scorer.score`; no image may take part in the score of another.
        images: ``(N, 3|1, H, W)`` floating point.
        references: of the same shape, or None; constants here.

    Returns:
        ``(N,)`` scores and d(score_i)/d(image_i) in the shape and type of ``images``.

    Raises:
        InvalidInput: uint8, and whatever ``score`` refuses.
    """
    require_tensor(images)
    if references is not None:
        require_tensor(references, "references")
    if not images.is_floating_point():
        raise InvalidInput(
            f"images are {images.dtype}; a gradient needs floating point in [0, 1]",
            field="images",
        )
    # Servers score in inference mode, whose tensors take no part in a graph; hence the copies.
    with torch.inference_mode(False), torch.enable_grad():
        leaves = images.detach().clone().requires_grad_()
        against = None if references is None else references.detach().clone()
        scores = score(leaves, against)
        (gradients,) = torch.autograd.grad(scores.sum(), leaves)
    return scores.detach(), gradients.contiguous()


def gradient_one_by_one(
    score: Callable[[Tensor, Tensor | None], Tensor], images: Tensor, references: Tensor
) -> tuple[Tensor, Tensor]:
    """`image_gradient` of a score that looks at pairs one by one: the memory is that of one image.

    Raises:
        InvalidInput: as `image_gradient`.
    """
    require_tensor(images)
    require_tensor(references, "references")
    if images.ndim != 4 or references.ndim != 4 or len(references) != len(images):
        return image_gradient(score, images, references)  # which says what is wrong
    pairs = zip(torch.split(images, 1), torch.split(references, 1), strict=True)
    scores, gradients = zip(*(image_gradient(score, *pair) for pair in pairs), strict=True)
    return torch.cat(scores), torch.cat(gradients)
