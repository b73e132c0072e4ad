"""How well a scorer orders images that a metric has ordered."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput, UndefinedScore
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.metrics import krocc, plcc, srocc
from ranksrgan.ranker.agreement import add_up, content_correlations, count_pairs, mean_gap
from ranksrgan.ranker.predictions import Predictions, predict
from ranksrgan.ranker.usual_order import usual_order


@dataclass(frozen=True)
class RankEvaluation:
    """Agreement of predicted scores with the metric. All correlations are in [-1, 1] and grow with
    the agreement, whether the metric's larger values are the better ones or not.

    A pair is two versions of one content whose true scores have an order; it is reversed if that
    order contradicts the usual one of its two levels, see `usual_order`.

    Infinite values have a rank (PSNR of the original is the best there is), and no distance: what
    is made of differences does not exist beside them.

    Attributes:
        srocc: Spearman's rank correlation over all images of all contents.
        srocc_per_content: mean over the contents of the correlation among the versions of each;
            None if no content has two different true scores.
        usual_srocc_per_content: the same of the usual order, which looks at no image: what a
            Ranker that has learned the metric and not the levels has to exceed.
        krocc: Kendall's rank correlation (tau-b) over all images.
        plcc: Pearson's linear correlation over all images, without a fit; None if a value is
            infinite.
        pair_accuracy: share of the pairs that come out in the right order, None if there are none.
            A predicted tie is a wrong order.
        reversed_accuracy: share of the reversed pairs that come out in the right order; the usual
            order has 0. None if there are none.
        gap: mean of |s1 - s2| over the pairs, in units of the scores; None if there are none, or
            one of the scores is infinite.
        normalised_gap: the same in standard deviations of all scores, so that Rankers of other
            scales compare; 0 if all scores are equal, None like the gap.
        pairs: how many there are.
        reversed_pairs: how many of them are reversed.
        images: how many were scored.
        contents: how many they belong to.
        skipped: contents whose true scores are all equal, which have a part only in what is over
            all images.
    """

    srocc: float
    srocc_per_content: float | None
    usual_srocc_per_content: float | None
    krocc: float
    plcc: float | None
    pair_accuracy: float | None
    reversed_accuracy: float | None
    gap: float | None
    normalised_gap: float | None
    pairs: int
    reversed_pairs: int
    images: int
    contents: int
    skipped: int

    @property
    def selection(self) -> tuple[float, float]:
        """What the best weights are chosen by: per content where it is defined, then global."""
        per_content = self.srocc if self.srocc_per_content is None else self.srocc_per_content
        return per_content, self.srocc

    @classmethod
    def of(cls, predictions: Predictions, *, min_gap: float = 0.0) -> RankEvaluation:
        """Compute all figures.

        Where all predictions are equal a correlation is undefined; it counts as 0, since a scorer
        that cannot tell images apart has ordered nothing.

        Args:
            predictions: what to judge.
            min_gap: true scores that differ by no more have no order: such a pair does not count.
                Correlations do not know it.

        Raises:
            InvalidInput: ``min_gap`` is negative or NaN.
            UndefinedScore: all true scores are equal.
        """
        if not min_gap >= 0:
            raise InvalidInput(f"min_gap={min_gap}: 0 or more is wanted", field="min_gap")
        predicted, truth = predictions.by_image
        if _all_equal(truth):
            raise UndefinedScore("all true scores are equal, so there is no order to agree with")
        places = usual_order(predictions.truth)
        usual = predictions.of(places.expand_as(predictions.truth)).predicted
        counts = add_up(count_pairs(predictions, places, min_gap=min_gap))
        constant, finite = _all_equal(predicted), bool(predicted.isfinite().all())
        gap = None
        if finite:
            gap = mean_gap(predictions.predicted, predictions.truth, min_gap=min_gap)
        deviation = float(predicted.std(correction=0))
        normalised = None if gap is None else 0.0 if constant else gap / deviation
        linear = None
        if finite and bool(truth.isfinite().all()):
            linear = 0.0 if constant else plcc(predicted, truth, fit="none")
        ranks = _ranks(predicted), _ranks(truth)
        correlations = content_correlations(predictions.predicted, predictions.truth)
        return cls(
            srocc=0.0 if constant else srocc(*ranks),
            srocc_per_content=_mean(correlations),
            usual_srocc_per_content=_mean(content_correlations(usual, predictions.truth)),
            krocc=0.0 if constant else krocc(*ranks),
            plcc=linear,
            pair_accuracy=counts.accuracy,
            reversed_accuracy=counts.reversed_accuracy,
            gap=gap,
            normalised_gap=normalised,
            pairs=counts.pairs,
            reversed_pairs=counts.reversed,
            images=len(truth),
            contents=len(predictions.contents),
            skipped=int(correlations.isnan().sum()),
        )


def evaluate(
    scorer: Scorer, source: PairSource, *, metric: str | None = None, min_gap: float = 0.0
) -> RankEvaluation:
    """Score every image of ``source.contents()`` and compare with the true scores.

    Args:
        scorer: of any scale; if its direction is not that of the metric, its scores are negated.
        source: the ranked images.
        metric: what to compare with; see `predict`.
        min_gap: see `RankEvaluation.of`.

    Raises:
        UnknownName, InvalidDataset, InvalidInput: as `predict` and
            `RankEvaluation.of`.
        UndefinedScore: a prediction is NaN, or all true scores are equal.
    """
    predictions = predict({scorer.info.name: scorer}, source, metric=metric)[scorer.info.name]
    return RankEvaluation.of(predictions, min_gap=min_gap)


def _mean(correlations: Tensor) -> float | None:
    defined = correlations[~correlations.isnan()]
    return float(defined.mean()) if len(defined) else None


def _ranks(values: Tensor) -> Tensor:
    """Whole numbers in the values' order: infinite values have a place in it."""
    return torch.searchsorted(values.sort().values, values).double()


def _all_equal(values: Tensor) -> bool:
    return bool((values == values[0]).all())
