"""How well a scorer orders images that a metric has ordered."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import InvalidDataset, UndefinedScore
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.metrics import srocc


@dataclass(frozen=True)
class RankEvaluation:
    """Agreement of predicted scores with the metric. All correlations are in [-1, 1] and grow with
    the agreement, whether the metric's larger values are the better ones or not.

    Attributes:
        srocc: Spearman's rank correlation over all images of all contents.
        srocc_per_content: mean over the contents of the correlation among the versions of each;
            None if no content has two different true scores.
        pair_accuracy: share of the pairs of versions of one content, with different true scores,
            that come out in the right order. A predicted tie is a wrong order.
        images: how many were scored.
        contents: how many they belong to.
        skipped: contents whose true scores are all equal, which have a part in ``srocc`` only.
    """

    srocc: float
    srocc_per_content: float | None
    pair_accuracy: float | None
    images: int
    contents: int
    skipped: int

    @property
    def selection(self) -> tuple[float, float]:
        """What the best weights are chosen by: per content where it is defined, then global."""
        per_content = self.srocc if self.srocc_per_content is None else self.srocc_per_content
        return per_content, self.srocc


def evaluate(scorer: Scorer, source: PairSource) -> RankEvaluation:
    """Score every image of ``source.contents()`` and compare with the true scores.

    Where all predictions are equal a correlation is undefined; it counts as 0, since a scorer that
    cannot tell images apart has ordered nothing.

    Raises:
        InvalidDataset: no contents, or a true score that is not finite.
        UndefinedScore: a prediction is not finite, or all true scores are equal.
    """
    truths: list[Tensor] = []
    predictions: list[Tensor] = []
    correlations: list[float] = []
    right = pairs = skipped = 0
    for content in source.contents():
        cancellation.check()
        truth = content.scores.double().cpu()
        if not bool(truth.isfinite().all()):
            raise InvalidDataset(f"{content.content} has a score that is not finite", field="score")
        with torch.no_grad():
            predicted = scorer.score(content.images).double().cpu()
        if not bool(predicted.isfinite().all()):
            raise UndefinedScore(f"the scorer gives {content.content} a score that is not finite")
        truths.append(truth)
        predictions.append(predicted)
        if _all_equal(truth):
            skipped += 1
            continue
        correlations.append(_correlation(predicted, truth))
        first, second = torch.triu_indices(len(truth), len(truth), offset=1)
        order = torch.sign(truth[first] - truth[second])
        found = torch.sign(predicted[first] - predicted[second])
        pairs += int((order != 0).sum())
        right += int(((order != 0) & (found == order)).sum())
    if not truths:
        raise InvalidDataset("there are no contents to evaluate on", field="contents")
    truth, predicted = torch.cat(truths), torch.cat(predictions)
    if _all_equal(truth):
        raise UndefinedScore("all true scores are equal, so there is no order to agree with")
    return RankEvaluation(
        srocc=_correlation(predicted, truth),
        srocc_per_content=sum(correlations) / len(correlations) if correlations else None,
        pair_accuracy=right / pairs if pairs else None,
        images=len(truth),
        contents=len(truths),
        skipped=skipped,
    )


def _correlation(predicted: Tensor, truth: Tensor) -> float:
    return 0.0 if _all_equal(predicted) else float(srocc(predicted, truth))


def _all_equal(values: Tensor) -> bool:
    return bool((values == values[0]).all())
