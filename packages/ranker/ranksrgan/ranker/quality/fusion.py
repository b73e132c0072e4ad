"""Boosted trees over a vector of metrics, by team debut.kele.

Seventh in the NTIRE 2021 challenge on perceptual image quality; described in its report (J. Gu et
al., CVPRW 2021): twelve full-reference metrics of an image are the features of a regressor, and the
mean of five such regressors, each fitted to four fifths of the data, is the score.

Published: trees of depth 3, a rate of 0.01, 0.7 of the samples and of the features for each tree,
up to 10,000 trees and no more than the held-out fifth wants. Our choice: the folds hold out whole
references, the rate is five times as large and the trees a tenth as many, and scikit-learn grows
them where the authors used XGBoost. It draws its 0.7 of the features anew for each split, not once
for a tree. Of the twelve metrics this project has seven (SSIM, MS-SSIM, GMSD, FSIM, VIF, LPIPS and
DISTS); which are used is an option, and any metric by name can be one of them, those without
reference as well.

Of no use as a loss: trees have no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ranksrgan.contracts.checkpoint import Weights
from ranksrgan.contracts.errors import (
    InvalidCheckpoint,
    InvalidConfig,
    InvalidInput,
    RankSRGANError,
    UndefinedScore,
)
from ranksrgan.contracts.joining import Joining, joining_of_all
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.metrics.catalog import open_name
from ranksrgan.ranker.quality.boosted_scorer import BoostedScorer
from ranksrgan.ranker.quality.boosting import (
    SEEDS,
    Boosted,
    check_samples,
    check_seed,
    grouped_folds,
    grow,
    read_members,
)

ARCHITECTURE = "fusion"
VERSION = "1"

#: Of the published twelve, those that need no file of a third party; and VIF's pixel form.
METRICS = ("ssim", "ms_ssim", "gmsd", "fsim", "vif", "vifp")

#: What a file may have at most.
MAX_METRICS = 32
MAX_MEMBERS = 32


class Fusion(BoostedScorer):
    """The mean of boosted regressors of several metrics: a `Scorer`; the higher the better.

    Args:
        metrics: names as `ranksrgan.metrics.catalog.open_name` opens, in the order of the
            regressors' inputs.
        members: the regressors.
        name: for `ScorerInfo.name`.

    Raises:
        InvalidInput: no metric, no member, too many, or a member of other inputs.
        UnknownName: there is no such metric.
    """

    def __init__(
        self, metrics: Sequence[str], members: Sequence[Boosted], *, name: str = ARCHITECTURE
    ) -> None:
        self.metrics = tuple(metrics)
        if not 1 <= len(members) <= MAX_MEMBERS:
            raise InvalidInput(
                f"a fusion has 1 to {MAX_MEMBERS} regressors, not {len(members)}", field="members"
            )
        for member in members:
            if member.forest.inputs != len(self.metrics):
                raise InvalidInput(
                    f"a regressor of {member.forest.inputs} inputs does not fit "
                    f"{len(self.metrics)} metrics",
                    field="members",
                )
        self._scorers = open_metrics(self.metrics)
        infos = [scorer.info for scorer in self._scorers]
        super().__init__(
            ARCHITECTURE,
            members,
            {"metrics": list(self.metrics), "members": len(members)},
            {},
            name=name,
            version="+".join([VERSION, *(info.version for info in infos)]),
            needs_reference=any(info.needs_reference for info in infos),
            min_side=max(info.min_side for info in infos),
        )

    @property
    def joining(self) -> Joining:
        """As the metric that is to be joined the least."""
        return joining_of_all(self._scorers)

    def _features(self, images: Tensor, references: Tensor | None) -> Tensor:
        """See `metric_features`."""
        return metric_features(self._scorers, images, references)


def fit_fusion(
    features: Tensor,
    opinions: Tensor,
    groups: Tensor,
    *,
    metrics: Sequence[str] = METRICS,
    folds: int = 5,
    trees: int = 1000,
    rate: float = 0.05,
    depth: int = 3,
    share: float = 0.7,
    seed: int = 0,
) -> Fusion:
    """Fit the regressors.

    Args:
        features: ``(N, K)`` of `metric_features`.
        opinions: ``(N,)``, the higher the better.
        groups: ``(N,)`` int64: whose reference each image has.
        metrics: whose features they are.
        folds: how many regressors; each leaves out a part of the references, which decides how many
            trees it keeps. Fewer references make fewer folds.
        trees: at most, of each regressor.
        rate: of learning.
        depth: of the trees.
        share: of the samples, and of the metrics at each split, that a tree is grown of.
        seed: of all chance; the same seed and features give the same model.

    Raises:
        NotSupported: scikit-learn is not installed.
        InvalidDataset: as `check_samples` and `grouped_folds`.
        InvalidConfig: a setting that cannot be.
    """
    check_samples(features, opinions)
    for name, value in (("folds", folds - 1), ("trees", trees), ("depth", depth)):
        if value < 1:
            raise InvalidConfig(f"{name} is too small for a fusion", field=name)
    for name, part in (("rate", rate), ("share", share)):
        if not 0 < part <= 1:
            raise InvalidConfig(f"{name} is {part}; above 0 and at most 1 is wanted", field=name)
    check_seed(seed)
    inputs, values = features.double().cpu().numpy(), opinions.double().cpu().numpy()
    members = []
    for number, held_out in enumerate(grouped_folds(groups.cpu(), folds, seed)):
        out = held_out.numpy()
        members.append(
            grow(
                inputs[~out],
                values[~out],
                held_out=(inputs[out], values[out]),
                n_estimators=trees,
                learning_rate=rate,
                max_depth=depth,
                subsample=share,
                max_features=share,
                random_state=(seed + number) % SEEDS,
            )
        )
    return Fusion(metrics, members)


def open_metrics(names: Sequence[str]) -> list[Scorer]:
    """The metrics of a fusion.

    Raises:
        InvalidInput: none, or more than `MAX_METRICS`; or an option that a metric does not have.
        UnknownName: there is no such metric.
    """
    if not 1 <= len(names) <= MAX_METRICS:
        raise InvalidInput(
            f"a fusion has 1 to {MAX_METRICS} metrics, not {len(names)}", field="metrics"
        )
    return [open_name(name) for name in names]


def metric_features(scorers: Sequence[Scorer], images: Tensor, references: Tensor | None) -> Tensor:
    """What each metric says of each image.

    Args:
        scorers: K of them.
        images, references: as in `Scorer.score`.

    Returns:
        ``(N, K)`` float64 on the CPU, without a graph.

    Raises:
        InvalidInput: the references are missing, or given and of no use; and as the metrics.
        UndefinedScore: a value that is not finite.
    """
    needed = any(scorer.info.needs_reference for scorer in scorers)
    if needed != (references is not None):
        raise InvalidInput(
            "references are missing" if needed else "no metric here takes references",
            field="references",
        )
    columns = []
    for scorer in scorers:
        info = scorer.info
        column = scorer.score(images.detach(), references if info.needs_reference else None)
        if not column.isfinite().all():
            place = int((~column.isfinite()).nonzero()[0])
            raise UndefinedScore(
                f"{info.name} of image {place} is {float(column[place])}, which trees cannot fuse",
                field="images",
            )
        columns.append(column.double().cpu())
    return torch.stack(columns, 1)


def open_fusion(weights: Weights, options: Mapping[str, str]) -> Fusion:
    """The model that `Fusion.save` has written.

    Args:
        weights: that have been read.
        options: none there are.

    Raises:
        InvalidCheckpoint: it is not sound.
        InvalidInput: an option.
    """
    where = str(weights.path)
    if options:
        unknown = min(options)
        raise InvalidInput(f"{where}: a fusion has no option {unknown}", field=unknown)
    metrics, members = weights.options.get("metrics"), weights.options.get("members")
    if (
        not isinstance(metrics, list)
        or not all(isinstance(name, str) for name in metrics)
        or type(members) is not int
        or not 1 <= members <= MAX_MEMBERS
    ):
        raise InvalidCheckpoint(
            f"{where}: a fusion's options are metrics, a list of names, and members, a number",
            field=where,
        )
    try:
        return Fusion(metrics, read_members(weights.tensors, members, len(metrics)))
    except RankSRGANError as error:
        raise InvalidCheckpoint(f"{where}: {error}", field=where) from error
