"""What the generator minimises, put together from the configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ranksrgan.contracts import open_scorer
from ranksrgan.contracts.device import mixed
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.scorer import DifferentiableScorer, Recordable
from ranksrgan.srgan.config import RankConfig, ScorerConfig, TrainConfig
from ranksrgan.srgan.losses import RankLoss, ScorerLoss, perceptual_loss, pixel_loss
from ranksrgan.srgan.training.features import FeatureNetwork, open_feature_network

log = logging.getLogger(__name__)

WeightedScorers = Sequence[tuple[DifferentiableScorer, float]]
Rankers = WeightedScorers


class Objective:
    """The generator's losses with their weights: what a step minimises.

    Args:
        config: weights and kinds.
        rankers: of the rank loss.
        features: of the perceptual loss; None without it.
        scorers: further losses; None opens those of ``losses.scorers``.

    Raises:
        InvalidConfig: a positive weight without the Ranker or feature network that it needs, a
            scorer without a gradient, or two of one name.
        UnknownName, InvalidInput, InvalidCheckpoint, ServiceUnavailable: see `open_scorer`.
    """

    def __init__(
        self,
        config: TrainConfig,
        rankers: Rankers,
        features: FeatureNetwork | None,
        scorers: WeightedScorers | None = None,
    ) -> None:
        losses = config.losses
        self.config = losses
        self.features = features
        self.rank = None
        if losses.rank.weight > 0:
            self.rank = RankLoss(
                rankers,
                losses.rank.jitter,
                function=losses.rank.function,
                bias=losses.rank.bias,
                reduction=losses.rank.reduction,
            )
        if scorers is None:
            scorers = _open(losses.scorers, losses.rank, "a loss", "losses.scorers")
        names = [f"scorers.{scorer.info.name}" for scorer, _ in scorers]
        if len(set(names)) < len(names):
            raise InvalidConfig(
                f"{', '.join(names)}: a scorer is named twice; give it once, with the sum of the "
                "weights",
                field="losses.scorers",
            )
        self.scorers = {
            name: ScorerLoss(scorer) for name, (scorer, _) in zip(names, scorers, strict=True)
        }
        self.seed = config.run.seed
        self.weights = {
            name: weight
            for name, weight in (
                ("pixel", losses.pixel.weight),
                ("perceptual", losses.perceptual.weight),
                ("rank", losses.rank.weight),
                *((name, weight) for name, (_, weight) in zip(names, scorers, strict=True)),
                ("adversarial", losses.adversarial.weight),
            )
            if weight > 0
        }
        self.names = [*self.weights, "generator"]
        if config.discriminator is not None:
            self.names.append("discriminator")

    def before_discriminator(
        self,
        sr: Tensor,
        hr: Tensor,
        bfloat16: bool,
        completed: int,
        part: int = 0,
        parts: int = 1,
    ) -> dict[str, Tensor]:
        """All terms but the adversarial one, of one of the equal ``parts`` of a batch.

        Their mean over the parts is the joint batch's; with a jitter each part has windows of its
        own. A remote Ranker or scorer may fail here, before any network has changed, its running
        statistics included: the state is then still that of the last completed step.
        """
        terms: dict[str, Tensor] = {}
        if "pixel" in self.weights:
            terms["pixel"] = pixel_loss(sr, hr, self.config.pixel.criterion)
        if self.features is not None:
            with mixed(bfloat16, sr.device):
                perceptual = self.config.perceptual
                terms["perceptual"] = perceptual_loss(
                    sr, hr, self.features, perceptual.criterion, perceptual.layers
                )
        if self.rank is not None:
            seed = 1_000_003 * self.seed + completed + 7_919 * part
            terms["rank"] = self.rank(sr, seed, bfloat16=bfloat16)
            if self.config.rank.reduction == "sum":
                terms["rank"] = terms["rank"] * parts
        for name, loss in self.scorers.items():
            terms[name] = loss(sr, hr)
        return terms

    @property
    def changes(self) -> str | None:
        """What of it is, or may be, other work in another step, if anything: see `Recordable`."""
        if self.scorers:
            return "losses.scorers may do other work for other images"
        if self.rank is not None and self.rank.jitter:
            return "losses.rank.jitter draws other windows for each step"
        asked: list[tuple[str, object]] = []
        if self.rank is not None:
            asked += [(ranker.info.name, ranker) for ranker, _ in self.rank.rankers]
        if self.features is not None:
            asked.append((self.features.name, self.features))
        for name, network in asked:
            if not (isinstance(network, Recordable) and network.recordable):
                return f"{name} is elsewhere, or may do other work for other images"
        return None

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum."""
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()


def open_rankers(config: TrainConfig) -> Rankers:
    """The configured Rankers, in this process or in services, each with its weight.

    Raises:
        InvalidConfig: a scorer without a gradient.
        UnknownName, InvalidCheckpoint, ServiceUnavailable: see `open_scorer`.
    """
    rank = config.losses.rank
    return _open(rank.rankers, rank, "a rank loss", "losses.rank.rankers")


def _open(
    wanted: Sequence[ScorerConfig], remote: RankConfig, purpose: str, field: str
) -> WeightedScorers:
    opened: list[tuple[DifferentiableScorer, float]] = []
    for one in wanted:
        scorer = open_scorer(one.spec, timeout=remote.timeout, retry_for=remote.retry_for)
        if not isinstance(scorer, DifferentiableScorer):
            raise InvalidConfig(f"{one.spec} cannot be {purpose}: it has no gradient", field=field)
        opened.append((scorer, one.weight))
    return opened


def choose_features(
    config: TrainConfig, given: FeatureNetwork | None, device: torch.device
) -> FeatureNetwork | None:
    """The given network, or else the configured one; None if its weight is 0.

    Raises:
        InvalidConfig: a positive weight and nothing to compute features with.
        MissingAsset, InvalidCheckpoint: see `open_feature_network`.
    """
    perceptual = config.losses.perceptual
    if perceptual.weight == 0:
        if config.discriminator is not None:
            log.info("no perceptual term is used (losses.perceptual.weight is 0)")
        return None
    if given is not None:
        return given
    if perceptual.network is None:
        raise InvalidConfig(
            f"losses.perceptual.weight is {perceptual.weight:g} but losses.perceptual.network is "
            "null: name VGG19's weights or another network, or set the weight to 0",
            field="losses.perceptual.network",
        )
    return open_feature_network(perceptual.network, device, list(perceptual.layers))
