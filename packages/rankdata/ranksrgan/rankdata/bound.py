"""How much there is to learn from a metric's ranks beyond which method is better: the upper bound.

The analysis of the RankSRGAN paper (W. Zhang, Y. Liu, C. Dong, Y. Qiao, TPAMI; equation (10)). Who
learns to tell methods apart (model classification, Ranker-MC) at best always takes the method that
is better on average, and gets its mean score. Who learns the metric's ranks can take the better
version content by content::

    UB = mean over the contents of min(score of a, score of b)      max, where higher is better

and gets that much. The difference is what the ranks of the metric are worth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from ranksrgan.rankdata.dataset import Content, RankDataset
from ranksrgan.rankdata.inspect import mean_score


@dataclass(frozen=True)
class UpperBound:
    """What choosing among some levels can reach.

    Attributes:
        levels: two of the dataset's, or all of them.
        contents: how many have all of these levels; everything below is of these.
        means: mean score of each level.
        better: share of the contents on which each level is better than all the others. What is
            missing to 1 are ties for best.
        best: the level with the best mean: what model classification can reach.
        bound: mean of the best score of each content: what ranks by the metric can reach.
        gain: by how much the bound is better than the best mean, 0 or more. NaN if both are
            infinite (PSNR of the original), or one of the means is NaN: a level has infinities of
            both signs.
    """

    levels: tuple[str, ...]
    contents: int
    means: tuple[float, ...]
    better: tuple[float, ...]
    best: str
    bound: float
    gain: float


def upper_bounds(dataset: RankDataset, split: str | None = None) -> tuple[UpperBound, ...]:
    """The bound of every pair of levels, in their order, and with more than two that of all.

    Pairs, or all levels, that no content has are left out: people may not have judged them.

    Args:
        dataset: whose scores; the direction of its metric counts.
        split: one split; None for all.

    Raises:
        InvalidDataset: no such split.
    """
    contents = dataset.select(split)
    chosen: list[tuple[str, ...]] = list(combinations(dataset.levels, 2))
    if len(dataset.levels) > 2:
        chosen.append(dataset.levels)
    return tuple(
        _upper_bound(levels, scores, dataset.metric.higher_is_better)
        for levels in chosen
        if (scores := _scores(contents, levels))
    )


def _scores(contents: Sequence[Content], levels: tuple[str, ...]) -> list[list[float]]:
    """Of the contents that have all ``levels``, in their order."""
    found = []
    for content in contents:
        scores = dict(zip(content.levels, content.scores, strict=True))
        if all(level in scores for level in levels):
            found.append([scores[level] for level in levels])
    return found


def _upper_bound(
    levels: tuple[str, ...], scores: Sequence[Sequence[float]], higher_is_better: bool
) -> UpperBound:
    best_of = max if higher_is_better else min
    means = [mean_score(values) for values in zip(*scores, strict=True)]
    alone = [0] * len(levels)
    for values in scores:
        best = best_of(values)
        if values.count(best) == 1:
            alone[values.index(best)] += 1
    bound = mean_score([best_of(values) for values in scores])
    # Level by level, since NaN compares with nothing.
    best_mean = best_of((mean for mean in means if not math.isnan(mean)), default=means[0])
    return UpperBound(
        levels=levels,
        contents=len(scores),
        means=tuple(means),
        better=tuple(count / len(scores) for count in alone),
        best=levels[means.index(best_mean)],
        bound=bound,
        gain=bound - best_mean if higher_is_better else best_mean - bound,
    )
