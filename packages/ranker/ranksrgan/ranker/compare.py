"""Several scorers on the same ranked images, between what needs no image and the metric itself."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.metrics.report import aligned
from ranksrgan.ranker.agreement import LevelMean, LevelPair, level_means, level_pairs
from ranksrgan.ranker.calibration import Calibration, calibrate
from ranksrgan.ranker.evaluate import RankEvaluation
from ranksrgan.ranker.predictions import Predictions, predict
from ranksrgan.ranker.usual_order import usual_order

#: Headings of `figures`.
COLUMNS = (
    *("SROCC", "per content", "Kendall", "PLCC", "pairs right", "reversed right"),
    *("E|s1-s2|", "normalised"),
)

#: Lines of `pair_table`: all pairs of ten levels.
MOST_PAIRS = 45


@dataclass(frozen=True)
class Judged:
    """What is found out about one scorer.

    Attributes:
        predictions: its scores.
        evaluation: the figures of one line.
        levels: mean scores, the best level by the metric first.
        pairs: by two levels.
        calibration: of its scores against the metric; None if no image has two finite values.
    """

    predictions: Predictions
    evaluation: RankEvaluation
    levels: list[LevelMean]
    pairs: list[LevelPair]
    calibration: Calibration | None


@dataclass(frozen=True)
class Comparison:
    """See `compare`.

    Attributes:
        metric: the truth.
        higher_is_better: its direction.
        min_gap: true scores that differ by no more have no order.
        usual_order: the levels, best first.
        usual: the usual order as if it were a scorer that knows each image's level. Its ``gap`` is
            in places.
        itself: the metric as its own scorer. Its gap is what a perfect calibration would show.
        scorers: by name.
    """

    metric: str
    higher_is_better: bool
    min_gap: float
    usual_order: tuple[str, ...]
    usual: RankEvaluation
    itself: RankEvaluation
    scorers: dict[str, Judged]

    @property
    def rows(self) -> list[tuple[str, RankEvaluation]]:
        """The table's lines: the usual order, the scorers, the metric."""
        judged = [(name, one.evaluation) for name, one in self.scorers.items()]
        return [("usual order", self.usual), *judged, (f"{self.metric} itself", self.itself)]


def compare(
    scorers: Mapping[str, Scorer],
    source: PairSource,
    *,
    metric: str | None = None,
    min_gap: float = 0.0,
) -> Comparison:
    """Evaluate scorers side by side; every image is read once.

    Args and errors as in `evaluate`, and:

    Raises:
        InvalidInput: no scorer.
    """
    if not scorers:
        raise InvalidInput("there is no scorer to evaluate", field="scorers")
    found = predict(scorers, source, metric=metric)
    first = next(iter(found.values()))
    places = usual_order(first.truth)
    best_first = torch.argsort(places, descending=first.higher_is_better).tolist()
    judged = {
        name: Judged(
            predictions=predictions,
            evaluation=RankEvaluation.of(predictions, min_gap=min_gap),
            levels=level_means(predictions),
            pairs=level_pairs(predictions, places, min_gap=min_gap),
            calibration=calibrate(*predictions.by_image),
        )
        for name, predictions in found.items()
    }
    usual = first.of(places.expand_as(first.truth))
    present = {row.level for row in level_means(first)}
    return Comparison(
        metric=first.metric,
        higher_is_better=first.higher_is_better,
        min_gap=min_gap,
        usual_order=tuple(first.levels[i] for i in best_first if first.levels[i] in present),
        usual=RankEvaluation.of(usual, min_gap=min_gap),
        itself=RankEvaluation.of(first.of(first.truth), min_gap=min_gap),
        scorers=judged,
    )


def figures(found: RankEvaluation) -> list[str]:
    """The line of one scorer, under `COLUMNS`."""
    return [
        number(value)
        for value in (
            *(found.srocc, found.srocc_per_content, found.krocc, found.plcc),
            *(found.pair_accuracy, found.reversed_accuracy, found.gap, found.normalised_gap),
        )
    ]


def number(value: float | None) -> str:
    """Four decimals, or a dash for what does not exist."""
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def facts(found: Comparison) -> list[str]:
    """What the figures are of, in sentences."""
    one = found.usual
    gap = f" that differ by more than {found.min_gap:g}" if found.min_gap else ""
    share = f" ({one.reversed_pairs / one.pairs:.1%})" if one.pairs else ""
    return [
        f"{found.metric} ({'higher' if found.higher_is_better else 'lower'} is better) of "
        f"{one.images} images of {one.contents} contents, {one.skipped} of which have no order",
        f"{one.pairs} pairs{gap}; {one.reversed_pairs}{share} reverse the usual order of the "
        f"levels: {', '.join(found.usual_order)} (best first)",
    ]


def level_table(found: Comparison) -> list[list[str]]:
    """A heading and, for each level, its images and the mean values of the metric and scorers.

    Behind a scorer's mean is the place that it gives the level.
    """
    columns = [one.levels for one in found.scorers.values()]
    orders = [
        sorted(levels, key=lambda level: level.predicted, reverse=found.higher_is_better)
        for levels in columns
    ]
    rows = [["level", "images", found.metric, *found.scorers]]
    for means in zip(*columns, strict=True):
        level = means[0]
        scores = [
            f"{number(mean.predicted)} ({order.index(mean) + 1})"
            for mean, order in zip(means, orders, strict=True)
        ]
        rows.append([level.level, str(level.images), number(level.truth), *scores])
    return rows


def pair_table(found: Comparison) -> list[list[str]]:
    """A heading and, for each two levels, how many pairs there are and which share is right.

    Of more than `MOST_PAIRS` there are only those that reverse the usual order most often.
    """
    lines = list(zip(*(one.pairs for one in found.scorers.values()), strict=True))
    first = "better, worse"
    if len(lines) > MOST_PAIRS:
        first += f" ({MOST_PAIRS} of {len(lines)})"
        lines = sorted(lines, key=lambda line: -line[0].counts.reversed)[:MOST_PAIRS]
    heading = [first, "pairs", "reversed"]
    rows = [heading + [cell for name in found.scorers for cell in (name, "of reversed")]]
    for line in lines:
        pair = line[0]
        shares = [
            number(share)
            for one in line
            for share in (one.counts.accuracy, one.counts.reversed_accuracy)
        ]
        counted = [str(pair.counts.pairs), str(pair.counts.reversed)]
        rows.append([f"{pair.better}, {pair.worse}", *counted, *shares])
    return rows


def as_table(found: Comparison) -> str:
    """For a terminal: the figures, the mean of each level, and pairs by level."""
    rows = [["", *COLUMNS], *([name, *figures(row)] for name, row in found.rows)]
    tables: Sequence[Sequence[Sequence[str]]] = (rows, level_table(found), pair_table(found))
    return "\n".join(["\n".join(facts(found)) + "\n", *(aligned(table) for table in tables)])


def as_json(found: Comparison) -> str:
    """All figures, without those of single images; what is infinite is null."""
    document = {
        "metric": found.metric,
        "higher_is_better": found.higher_is_better,
        "min_gap": found.min_gap,
        "usual_order": {"levels": found.usual_order, **asdict(found.usual)},
        "metric_itself": asdict(found.itself),
        "scorers": {name: _as_dict(one) for name, one in found.scorers.items()},
    }
    text = json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n"


def _as_dict(one: Judged) -> dict[str, Any]:
    return {
        **asdict(one.evaluation),
        "negated": one.predictions.negated,
        "by_level": [asdict(level) for level in one.levels],
        "by_pair": [
            {"better": pair.better, "worse": pair.worse, **asdict(pair.counts)}
            for pair in one.pairs
        ],
        "calibration": None if one.calibration is None else asdict(one.calibration),
    }


def _finite(value: Any) -> Any:
    """The same with None for each number that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
