"""What is in a rank dataset: how many crops, how the levels score, and which of them wins."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from ranksrgan.contracts import ScorerInfo, atomic
from ranksrgan.rankdata.dataset import RankDataset
from ranksrgan.rankdata.manifest import Counts

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
        crops: how many were scored: contents times splits.
        mean: of the score over all contents.
        wins: share of the contents on which it is best, by the metric's direction. k levels that
            tie for best get 1/k each, so the shares add up to 1.
    """

    crops: int
    mean: float
    wins: float


@dataclass(frozen=True)
class DatasetReport:
    """See `summarise`.

    Attributes:
        metric: what labelled the crops.
        splits: by name.
        levels: by name, in order.
        ties: share of the contents on which several levels tie for best.
        counts: what the build kept and dropped.
    """

    metric: ScorerInfo
    splits: dict[str, SplitSummary]
    levels: dict[str, LevelSummary]
    ties: float
    counts: Counts


def summarise(dataset: RankDataset) -> DatasetReport:
    """Count and compare."""
    contents = dataset.contents
    best_of = max if dataset.metric.higher_is_better else min
    shares = [0.0] * len(dataset.levels)
    ties = 0
    for content in contents:
        best = best_of(content.scores)
        winners = [index for index, score in enumerate(content.scores) if score == best]
        ties += len(winners) > 1
        for index in winners:
            shares[index] += 1 / len(winners)
    crops = Counter(content.split for content in contents)
    sources = Counter(split for _, split in {(c.source, c.split) for c in contents})
    return DatasetReport(
        metric=dataset.metric,
        splits={name: SplitSummary(sources[name], crops[name]) for name in dataset.splits},
        levels={
            name: LevelSummary(
                crops=len(contents),
                mean=fmean(content.scores[index] for content in contents),
                wins=shares[index] / len(contents),
            )
            for index, name in enumerate(dataset.levels)
        },
        ties=ties / len(contents),
        counts=dataset.record.counts,
    )


def plot_histogram(dataset: RankDataset, path: Path) -> None:
    """Write the distribution of scores at each level as a PNG, on common bins.

    Infinite scores (PSNR of the original) have no bin; the legend says how many there are.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scores = {
        name: [content.scores[index] for content in dataset.contents]
        for index, name in enumerate(dataset.levels)
    }
    finite = {name: [s for s in values if math.isfinite(s)] for name, values in scores.items()}
    everything = [score for values in finite.values() for score in values] or [0.0]
    low, high = min(everything), max(everything)
    span = (low, high) if high > low else (low - 0.5, high + 0.5)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, values in finite.items():
        infinite = len(scores[name]) - len(values)
        label = f"{name} ({infinite} infinite)" if infinite else name
        axes.hist(values, bins=_BINS, range=span, histtype="step", linewidth=1.5, label=label)
    better = "higher" if dataset.metric.higher_is_better else "lower"
    axes.set_xlabel(f"{dataset.metric.name} ({better} is better)")
    axes.set_ylabel("crops")
    axes.legend()
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
