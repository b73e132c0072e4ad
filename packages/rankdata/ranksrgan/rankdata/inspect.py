"""What is in a rank dataset: how many crops, how the levels score, and in which order they come."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from ranksrgan.contracts import ScorerInfo, atomic
from ranksrgan.rankdata.dataset import Content, RankDataset
from ranksrgan.rankdata.manifest import PATCHES, Counts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 50


@dataclass(frozen=True)
class SplitSummary:
    """Source images and contents (crops) of one split."""

    sources: int
    crops: int


@dataclass(frozen=True)
class LevelSummary:
    """One level.

    Attributes:
        crops: how many were scored: all contents, unless people judged.
        mean: of their scores, NaN if there is none: of no score, or of infinite ones of both signs.
        wins: share of the contents on which it is best, by the metric's direction. k levels that
            tie for best get 1/k each, so the shares add up to 1.
    """

    crops: int
    mean: float
    wins: float


@dataclass(frozen=True)
class OrderSummary:
    """One order of levels.

    Attributes:
        places: the level at each place from best to worst, or those that tie for it.
        crops: contents on which the levels come in this order.
        share: of all contents.
    """

    places: tuple[tuple[str, ...], ...]
    crops: int
    share: float

    def __str__(self) -> str:
        """``hr > esrgan = srgan > bicubic``."""
        return " > ".join(" = ".join(levels) for levels in self.places)


@dataclass(frozen=True)
class DatasetReport:
    """See `summarise`.

    Attributes:
        metric: what labelled the crops.
        patches: whether the source images are patches, each a crop of its own, as of the official
            form: which image they were cut from, the dataset does not say.
        splits: by name.
        levels: by name, in order.
        orders: every order in which levels come on some content, the most frequent first. It is
            found, not assumed: a better method is not better everywhere.
        ties: share of the contents on which several levels tie for best.
        counts: what the build kept and dropped.
    """

    metric: ScorerInfo
    patches: bool
    splits: dict[str, SplitSummary]
    levels: dict[str, LevelSummary]
    orders: tuple[OrderSummary, ...]
    ties: float
    counts: Counts


def summarise(dataset: RankDataset) -> DatasetReport:
    """Count and compare."""
    contents = dataset.contents
    places = [_places(content, dataset.metric.higher_is_better) for content in contents]
    scores = scores_by_level(dataset)
    crops = Counter(content.split for content in contents)
    sources = Counter(split for _, split in {(c.source, c.split) for c in contents})
    wins = dict.fromkeys(dataset.levels, 0.0)
    for best, *_ in places:
        for level in best:
            wins[level] += 1 / len(best)
    orders = sorted(Counter(places).items(), key=lambda order: (-order[1], order[0]))
    return DatasetReport(
        metric=dataset.metric,
        patches=all(level.kind == PATCHES for level in dataset.record.levels),
        splits={name: SplitSummary(sources[name], crops[name]) for name in dataset.splits},
        levels={
            name: LevelSummary(
                crops=len(values),
                mean=mean_score(values),
                wins=wins[name] / len(contents),
            )
            for name, values in scores.items()
        },
        orders=tuple(OrderSummary(order, count, count / len(contents)) for order, count in orders),
        ties=sum(len(best) > 1 for best, *_ in places) / len(contents),
        counts=dataset.record.counts,
    )


def mean_score(scores: Sequence[float]) -> float:
    """The mean; NaN of none, and of infinities of both signs."""
    if not scores or {math.inf, -math.inf} <= set(scores):
        return math.nan
    return fmean(scores)


def scores_by_level(dataset: RankDataset) -> dict[str, list[float]]:
    """The scores of each level, in the order of the contents that have it."""
    scores: dict[str, list[float]] = {name: [] for name in dataset.levels}
    for content in dataset.contents:
        for level, score in zip(content.levels, content.scores, strict=True):
            scores[level].append(score)
    return scores


def score_gaps(dataset: RankDataset) -> dict[str, list[float]]:
    """``score of a - score of b`` on each content that has both, for each pair of levels."""
    gaps: dict[str, list[float]] = {f"{a} - {b}": [] for a, b in combinations(dataset.levels, 2)}
    for content in dataset.contents:
        scored = zip(content.levels, content.scores, strict=True)
        for (a, first), (b, second) in combinations(scored, 2):
            gaps[f"{a} - {b}"].append(first - second)
    return gaps


def plot_histogram(dataset: RankDataset, path: Path) -> None:
    """Write a PNG: the distribution of scores at each level, and of the gaps between two levels.

    Common bins in each plot. What is infinite (PSNR of the original, and its gaps) has no bin; the
    legend says how many there are. On the right of 0 a gap says that the first level scores higher:
    how far apart levels lie, and how often they change places, is what a Ranker can learn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 9), layout="constrained")
    FigureCanvasAgg(figure)
    scores, gaps = figure.subplots(2)
    better = "higher" if dataset.metric.higher_is_better else "lower"
    _draw(scores, scores_by_level(dataset), f"{dataset.metric.name} ({better} is better)")
    _draw(gaps, score_gaps(dataset), f"difference in {dataset.metric.name}")
    gaps.axvline(0, color="black", linewidth=0.5)
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def _draw(axes: Axes, groups: Mapping[str, list[float]], label: str) -> None:
    finite = {name: [v for v in values if math.isfinite(v)] for name, values in groups.items()}
    everything = [value for values in finite.values() for value in values] or [0.0]
    low, high = min(everything), max(everything)
    span = (low, high) if high > low else (low - 0.5, high + 0.5)
    for name, values in finite.items():
        infinite = len(groups[name]) - len(values)
        text = f"{name} ({infinite} infinite)" if infinite else name
        axes.hist(values, bins=_BINS, range=span, histtype="step", linewidth=1.5, label=text)
    axes.set_xlabel(label)
    axes.set_ylabel("crops")
    axes.legend()


def _places(content: Content, higher_is_better: bool) -> tuple[tuple[str, ...], ...]:
    """The levels of a content from best to worst, those that tie together in their order."""
    scored = zip(content.scores, content.levels, strict=True)
    ordered = sorted(scored, key=lambda version: version[0], reverse=higher_is_better)
    return tuple(
        tuple(level for _, level in tied)
        for _, tied in groupby(ordered, key=lambda version: version[0])
    )
