"""What the Ranker can minimise when it learns the order of the versions of one content.

A batch is N images, all versions of several contents, scored together. Every loss takes

    scores  (N,)  what the Ranker says, float32 or float64; a larger score says a larger value
    values  (N,)  what the metric says
    group   (N,)  which content an image is a version of: equal integers, equal content

and gives a scalar. The losses of this module look at pairs of one content alone (`bradley_terry`
also across contents, if wanted); `regression` and those of ``loss_correlation`` look at the batch
as a whole. In what order the images stand plays no part, except as said.

**Ties.** Two images of one content whose values differ by no more than ``min_gap`` have no order.
They have no part in a loss of orders: to pull their scores together would teach that the metric's
steps below the gap are exactly zero, which nobody measured. Where no pair has an order, such a loss
is 0 and so is its gradient.

**Offset.** Losses of differences leave each content's own offset free, and it drifts to tens of
margins. An order does not mind, but the rank-content loss is a sigmoid of the score, and out there
it has no gradient. A small share of `magnitude` holds the offsets near zero.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.contracts.errors import InvalidInput

#: Bradley-Terry's logistic scale of Elo ratings: 400 points are odds of ten to one.
ELO_SCALE = 400 / math.log(10)

#: Where the published code clamps scores before its loss.
PUBLISHED_LIMIT = 5.0


def margin_ranking(
    scores: Tensor, values: Tensor, group: Tensor, margin: float = 0.5, min_gap: float = 0.0
) -> Tensor:
    """Mean of ``max(0, margin - (s_i - s_j))`` over the pairs of one content with ``v_i > v_j``.

    Equation 4 of the RankSRGAN paper. Scores are not clamped, so that a pair that is far out and
    wrong still has a gradient; see `margin_ranking_as_published`.

    Args:
        scores, values, group: see the module's head.
        margin: how far apart two scores have to be before the pair costs nothing.
        min_gap: values that differ by no more are a tie.

    Raises:
        InvalidInput: shapes or types are others.
    """
    check_batch(scores, values, group)
    counted = ordered(values, group, min_gap)
    return _mean((margin - _differences(scores)).clamp(min=0), counted)


def margin_ranking_as_published(
    scores: Tensor, values: Tensor, group: Tensor, margin: float = 0.5
) -> Tensor:
    """The loss of the published code, to compare with.

    It clamps the scores to [-5, 5] first, so that two scores beyond the same end cost the margin
    and move no more, and it counts a tie as ``v_i > v_j``, where i is the image that stands first
    in the batch: the better level, in the published data.

    Raises:
        InvalidInput: shapes or types are others.
    """
    check_batch(scores, values, group)
    clamped = scores.clamp(-PUBLISHED_LIMIT, PUBLISHED_LIMIT)
    labels = torch.where(_differences(values) >= 0, 1.0, -1.0).to(scores.dtype)
    hinge = (margin - labels * _differences(clamped)).clamp(min=0)
    return _mean(hinge, _same(group).triu(1))


def ranknet(scores: Tensor, values: Tensor, group: Tensor, min_gap: float = 0.0) -> Tensor:
    """Mean of ``-log sigmoid(s_i - s_j)`` over the pairs of one content with ``v_i > v_j``.

    Burges et al., "Learning to rank using gradient descent", ICML 2005. There a tie may have the
    target 1/2; here it has no part.

    Args:
        scores, values, group: see the module's head.
        min_gap: values that differ by no more are a tie.

    Raises:
        InvalidInput: shapes or types are others.
    """
    check_batch(scores, values, group)
    return _mean(F.softplus(-_differences(scores)), ordered(values, group, min_gap))


def listwise(scores: Tensor, values: Tensor, group: Tensor) -> Tensor:
    """Minus the log-likelihood of each content's whole order, as a mean over the choices in it.

    Plackett and Luce draw an order by choosing again and again among the images left, each with
    probability proportional to exp(s). What is minimised is the observed order's, largest value
    first: ListMLE (Xia et al., "Listwise approach to learning to rank", ICML 2008):

        sum over i of log( exp(s_i) + sum over j with v_j < v_i of exp(s_j) ) - s_i

    An image tied with i is not among those that i is chosen from, so that ties move each other
    nowhere and their order in the batch is of no consequence. The sum is divided by the number of
    images that have another below them: L - 1 for each content of L different values. For contents
    of two it is `ranknet`.

    Raises:
        InvalidInput: shapes or types are others.
    """
    check_batch(scores, values, group)
    below = ordered(values, group)
    left = below | torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    candidates = scores.expand(len(scores), -1).masked_fill(~left, -math.inf)
    return _mean(torch.logsumexp(candidates, 1) - scores, below.any(1))


def bradley_terry(
    scores: Tensor, values: Tensor, group: Tensor, scale: float, across: bool = False
) -> Tensor:
    """Mean squared error of the probability that one image wins against another.

    ``sigmoid(s_i - s_j)`` has to be ``1 / (1 + exp(-(v_i - v_j) / scale))``, the probability that
    Bradley and Terry's model, or Elo's, gives to the values; so unlike an order it tells small gaps
    from large ones, and a tie is an observation like any other. Huawei Noah's Ark in the NTIRE 2021
    challenge report, on pairs across contents; their scores, too, then mean the same everywhere.

    Args:
        scores, values, group: see the module's head.
        scale: the gap of values at which the odds are e to one; `ELO_SCALE` for Elo ratings.
        across: take all pairs of the batch, not only those of one content.

    Raises:
        InvalidInput: shapes or types are others.
    """
    check_batch(scores, values, group)
    wanted = torch.sigmoid(_differences(values) / scale).to(scores.dtype)
    error = torch.sigmoid(_differences(scores)) - wanted
    pairs = torch.ones_like(error, dtype=torch.bool) if across else _same(group)
    return _mean(error.square(), pairs.triu(1))


def regression(scores: Tensor, values: Tensor, group: Tensor) -> Tensor:
    """Mean squared error of the metric's value itself: the paper's ablation.

    ``group`` plays no part.

    Raises:
        InvalidInput: shapes or types are others.
    """
    check_batch(scores, values, group)
    return F.mse_loss(scores, values.to(scores.dtype))


def magnitude(scores: Tensor) -> Tensor:
    """Mean of ``s ** 2``: a penalty beside a loss of differences; see the module's head.

    The published code clamps scores to [-5, 5] in training instead, which stops the gradient of
    exactly those pairs that need one.
    """
    return scores.square().mean()


def check_batch(scores: Tensor, values: Tensor, group: Tensor) -> None:
    """Refuse what is not a batch as the module's head describes it, by shapes and types alone.

    Raises:
        InvalidInput: the message says what is there.
    """
    shapes = [tuple(given.shape) for given in (scores, values, group)]
    if scores.ndim != 1 or len(scores) == 0 or len(set(shapes)) > 1:
        raise InvalidInput(
            "scores, values and group all have shape (N,) with N at least 1, not "
            f"{', '.join(map(str, shapes))}",
            field="scores",
        )
    if not scores.is_floating_point() or group.is_floating_point():
        raise InvalidInput(
            f"scores are floating point and group is integers, not {scores.dtype} and "
            f"{group.dtype}",
            field="scores" if not scores.is_floating_point() else "group",
        )


def ordered(values: Tensor, group: Tensor, min_gap: float = 0.0) -> Tensor:
    """``(N, N)``: whether i and j are of one content and v_i is larger by more than the gap."""
    return _same(group) & (_differences(values) > min_gap)


def _differences(numbers: Tensor) -> Tensor:
    return numbers[:, None] - numbers[None, :]


def _same(group: Tensor) -> Tensor:
    return group[:, None] == group[None, :]


def _mean(losses: Tensor, counted: Tensor) -> Tensor:
    """Mean of those that count; 0, with a gradient of zero, if there are none."""
    return (losses * counted).sum() / counted.sum().clamp(min=1)
