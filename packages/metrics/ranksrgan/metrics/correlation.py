"""How well a predicted quality agrees with the true one: rank correlation and pair accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput, UndefinedScore


def srocc(a: Tensor | Sequence[float], b: Tensor | Sequence[float]) -> float:
    """Spearman's rank-order correlation coefficient, -1 to 1; equal values share the mean rank.

    Args:
        a: ``(n,)`` finite numbers, n at least 2.
        b: as many.

    Raises:
        InvalidInput: not two vectors of one length, fewer than 2, or not finite.
        UndefinedScore: all values of one side are equal, so it has no order.
    """
    x, y = _vectors(a, b)
    centred_x, centred_y = _centred_ranks(x), _centred_ranks(y)
    norm_x, norm_y = float(centred_x.square().sum()), float(centred_y.square().sum())
    if norm_x == 0 or norm_y == 0:
        raise UndefinedScore("a rank correlation is undefined where all values are equal")
    return float((centred_x * centred_y).sum()) / math.sqrt(norm_x * norm_y)


def pair_accuracy(predicted: Tensor | Sequence[float], truth: Tensor | Sequence[float]) -> float:
    """Share of pairs that the prediction puts in their true order, 0 to 1.

    A pair whose true values are equal has no order and does not count. A pair that differs in truth
    but not in the prediction counts as wrong: nothing was ranked.

    Args:
        predicted: ``(n,)`` finite numbers, n at least 2.
        truth: as many.

    Raises:
        InvalidInput: not two vectors of one length, fewer than 2, or not finite.
        UndefinedScore: all true values are equal, so there is no pair.
    """
    x, y = _vectors(predicted, truth)
    pairs = right = 0
    for i in range(1, len(y)):  # row by row: n² at once would not fit for large n
        order = (y[i] - y[:i]).sign()
        pairs += int(order.count_nonzero())
        right += int(((x[i] - x[:i]).sign() * order > 0).sum())
    if pairs == 0:
        raise UndefinedScore("a pair accuracy is undefined where all true values are equal")
    return right / pairs


def _vectors(a: Tensor | Sequence[float], b: Tensor | Sequence[float]) -> tuple[Tensor, Tensor]:
    x, y = (
        torch.as_tensor(values, dtype=torch.float64, device="cpu").detach() for values in (a, b)
    )
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2:
        raise InvalidInput(
            f"shapes {tuple(x.shape)} and {tuple(y.shape)}: two vectors of one length, 2 or more, "
            "are wanted"
        )
    if not bool(x.isfinite().all()) or not bool(y.isfinite().all()):
        raise InvalidInput("values that are not finite have no rank")
    return x, y


def _centred_ranks(values: Tensor) -> Tensor:
    """Ranks, equal values sharing the mean of theirs, minus the mean of all."""
    ordered = values.sort().values
    first = torch.searchsorted(ordered, values)
    last = torch.searchsorted(ordered, values, right=True) - 1
    return (first + last).double() / 2 - (len(values) - 1) / 2
