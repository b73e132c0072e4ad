"""The usual order: what somebody knows who knows the levels and looks at no image.

Of all fixed orders of the levels it is the one with the largest mean of Spearman's correlation with
the metric over the contents that it is chosen on, so it is the best that a Ranker could do that
has learned which method made an image and nothing else. A Ranker that has learned the metric is
above it, and right more often than not on the pairs where a content departs from it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ranksrgan.ranker.agreement import centred_ranks

#: With more levels, and contents that lack some of them, the order is a good one but perhaps not
#: the best. Where every content has every level it always is.
MOST_LEVELS = 12


def usual_order(truth: Tensor) -> Tensor:
    """The place of each level in the best fixed order, 0 for the smallest values of the metric.

    A content with the centred ranks t of its k levels has with an order p the correlation

        sum over l of t_l r_l / (|t| |r|),    r_l = 1/2 sum over m of sgn(p_l - p_m),

    where ``|r|² = (k³ - k) / 12`` for every p. So the mean over the contents is a sum over pairs of
    levels, of a number g_lm if l stands above m, and the best order of a set of levels is the best
    order of all but one with that one on top of it: exact in O(2^L L²) steps instead of L!. If no
    content lacks a level, the order by ``sum over m of g_lm`` is the best.

    Args:
        truth: ``(C, L)`` values of the metric, NaN where a content lacks a level.

    Returns:
        ``(L,)`` float64, each of 0..L-1 once; the levels' own order where nothing tells them apart.
    """
    gains = _gains(truth)
    if truth.shape[1] > MOST_LEVELS or not bool(truth.isnan().any()):
        bottom_up = torch.argsort(gains.sum(dim=1), stable=True).tolist()
    else:
        bottom_up = _best_arrangement(gains.tolist())
    places = torch.empty(truth.shape[1], dtype=torch.float64)
    places[bottom_up] = torch.arange(truth.shape[1], dtype=torch.float64)
    return places


def _gains(truth: Tensor) -> Tensor:
    """``(L, L)``: what the sum of correlations gains if level l stands above level m."""
    ranks = centred_ranks(truth)
    present = (~truth.isnan()).double()
    count = present.sum(dim=1)
    norms = (ranks.square().sum(dim=1) * (count**3 - count) / 12).sqrt()
    scaled = ranks / norms.where(norms > 0, torch.inf)[:, None] / 2
    one_sided = scaled.T @ present
    return one_sided - one_sided.T


def _best_arrangement(gains: list[list[float]]) -> list[int]:
    """The levels from the bottom up, for the largest sum of ``gains[above][below]``."""
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    for members in range(1, 2 ** len(gains)):
        candidates = []
        for top in range(len(gains)):
            if members >> top & 1:
                value, below = best[members & ~(1 << top)]
                row = gains[top]
                candidates.append((value + sum(row[level] for level in below), [*below, top]))
        best[members] = max(candidates, key=lambda candidate: candidate[0])
    return best[2 ** len(gains) - 1][1]
