"""The margin-ranking loss of the paper (equation 4) on labelled pairs, and a penalty beside it."""

from __future__ import annotations

from torch import Tensor


def margin_ranking_loss(a: Tensor, b: Tensor, labels: Tensor, margin: float = 0.5) -> Tensor:
    """Mean of ``max(0, -y (a - b) + margin)`` over the pairs whose order is known.

    The paper's γ is ``-y``. A tie (label 0) says nothing about an order and has no part in the
    mean; pulling the two scores together instead would teach that the metric's steps below the
    source's tie threshold are exactly zero, which nobody measured. The published code counts a tie
    as +1 and clamps the scores to [-5, 5] first, where a pair beyond the clamp has no gradient;
    neither is done here. Swapping ``a`` and ``b`` together with the label's sign changes nothing.

    Args:
        a: ``(B,)`` scores of the first images.
        b: ``(B,)`` scores of the second images.
        labels: ``(B,)``: +1 where ``a`` has the larger metric value, -1 where ``b`` has it, 0.
        margin: how far apart two scores have to be before the pair costs nothing.

    Returns:
        A scalar, 0 (with a gradient of zero) if every pair is a tie.
    """
    hinge = (margin - labels * (a - b)).clamp(min=0)
    decided = labels != 0
    return (hinge * decided).sum() / decided.sum().clamp(min=1)


def magnitude_penalty(a: Tensor, b: Tensor) -> Tensor:
    """Mean of ``s ** 2`` over all scores ``s`` of a batch.

    The margin-ranking loss sees differences within a content only, so each content's own offset is
    free and drifts to tens of margins. An order does not mind, but the rank-content loss is a
    sigmoid of the score, and out there it has no gradient. A small share of this penalty holds the
    offsets near zero. The published code clamps scores to [-5, 5] in training instead, which stops
    the gradient of exactly those pairs that need one.
    """
    return (a.square().mean() + b.square().mean()) / 2
