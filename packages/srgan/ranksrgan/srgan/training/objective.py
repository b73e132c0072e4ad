"""What the generator minimises, put together from the configuration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ranksrgan.contracts.clients.scorer import RemoteScorer
from ranksrgan.contracts.device import mixed
from ranksrgan.contracts.discovery import names_sum
from ranksrgan.contracts.errors import InvalidConfig, InvalidInput
from ranksrgan.contracts.scorer import DifferentiableScorer, Recordable
from ranksrgan.contracts.specs import is_remote
from ranksrgan.srgan.config import LossesConfig, RankConfig, ScorerConfig, TrainConfig
from ranksrgan.srgan.generators.generator import View, Views
from ranksrgan.srgan.losses import (
    NEEDS,
    Criteria,
    RankLoss,
    ScorerLoss,
    contrast_loss,
    perceptual_loss,
    pixel_loss,
)
from ranksrgan.srgan.training.features import FeatureNetwork, open_feature_network
from ranksrgan.srgan.training.local_scorer import open_on, says, with_option

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
        device: where those compute that say nothing else.

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
        device: torch.device | None = None,
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
            scorers = _open(losses.scorers, losses.rank, device, "a loss", "losses.scorers")
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
        #: What the criteria contrast compares besides the losses that there are without it.
        self._pixel_views, self._adversarial_views = _further_views(losses)
        self.weights = {
            name: weight
            for name, weight in (
                ("pixel", losses.pixel.weight),
                ("perceptual", losses.perceptual.weight),
                ("rank", losses.rank.weight),
                *((name, weight) for name, (_, weight) in zip(names, scorers, strict=True)),
                ("adversarial", losses.adversarial.weight),
                *((f"contrast.{term}", w) for term, w in losses.contrast.weights.items()),
            )
            if weight > 0
        }
        components = [f"pixel.{view}" for view in self._pixel_views]
        components += [f"adversarial.{view}" for view in self._adversarial_views]
        self.names = [*self.weights, *components, "generator"]
        if config.discriminator is not None:
            self.names.append("discriminator")

    @property
    def judged(self) -> tuple[View, ...]:
        """The views whose adversarial loss is wanted."""
        return (self.config.adversarial.view, *self._adversarial_views)

    def before_discriminator(
        self,
        made: Tensor | Views,
        hr: Tensor,
        bfloat16: bool,
        completed: int,
        part: int = 0,
        parts: int = 1,
    ) -> dict[str, Tensor]:
        """All terms of the pictures alone, of one of the equal ``parts`` of a batch.

        ``made`` are generated images, or views of them; for the others see `after_discriminator`.
        Their mean over the parts is the joint batch's; with a jitter each part has windows of its
        own. A remote Ranker or scorer may fail here, before any network has changed, its running
        statistics included: the state is then still that of the last completed step.
        """
        views = Views.of(made)
        sr, pixel = views.fused, self.config.pixel
        terms: dict[str, Tensor] = {}
        ranked: Callable[[], Tensor] | None = None
        if self.rank is not None:
            seed = 1_000_003 * self.seed + completed + 7_919 * part
            ranked = self.rank.begin(sr, seed, bfloat16=bfloat16)
        if "pixel" in self.weights:
            terms["pixel"] = pixel_loss(views.view(pixel.view), hr, pixel.criterion)
        if self.features is not None:
            with mixed(bfloat16, sr.device):
                perceptual = self.config.perceptual
                terms["perceptual"] = perceptual_loss(
                    sr, hr, self.features, perceptual.criterion, perceptual.layers
                )
        if ranked is not None:
            terms["rank"] = ranked()
            if self.config.rank.reduction == "sum":
                terms["rank"] = terms["rank"] * parts
        for name, loss in self.scorers.items():
            terms[name] = loss(sr, hr)
        for view in self._pixel_views:
            terms[f"pixel.{view}"] = pixel_loss(views.view(view), hr, pixel.criterion)
        return terms

    def after_discriminator(
        self,
        terms: Mapping[str, Tensor],
        adversarial: Mapping[View, Tensor],
        joint: Callable[[Tensor], Tensor],
    ) -> dict[str, Tensor]:
        """The adversarial terms, and what the contrast makes of all.

        Args:
            terms: of `before_discriminator`.
            adversarial: the loss of each of the `judged` views, of the joint batch.
            joint: see `Processes.joint`. The contrast compares means of the joint batch, of one
                part at a time where a batch is accumulated.
        """
        losses = self.config
        found = {"adversarial": adversarial[losses.adversarial.view]}
        found |= {f"adversarial.{view}": adversarial[view] for view in self._adversarial_views}
        contrast = losses.contrast
        if not contrast.weights:
            return found
        pixel = {view: terms[f"pixel.{view}"] for view in self._pixel_views}
        if "pixel" in terms:
            pixel[losses.pixel.view] = terms["pixel"]

        def weighed(weight: float, loss: Tensor) -> Tensor:
            return weight * joint(loss.reshape(1)).mean()

        criteria = Criteria(
            {view: weighed(contrast.pixel, loss) for view, loss in pixel.items()},
            weighed(contrast.perceptual, terms["perceptual"]),
            {view: contrast.adversarial * loss for view, loss in adversarial.items()},
        )
        for term in contrast.weights:
            found[f"contrast.{term}"] = contrast_loss(
                term, criteria, contrast.temperature, contrast.epsilon
            )
        return found

    @property
    def asks_services(self) -> bool:
        """Whether the rank loss waits for what another process computes."""
        rankers = self.rank.rankers if self.rank is not None else ()
        return any(isinstance(ranker, RemoteScorer) for ranker, _ in rankers)

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
                return f"{name} may do other work for other images"
        return None

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum."""
        weighed = [self.weights[name] * t for name, t in terms.items() if name in self.weights]
        return torch.stack(weighed).sum()


def _further_views(losses: LossesConfig) -> tuple[list[View], list[View]]:
    """Views whose pixel and whose adversarial loss the contrast wants, and nothing else has."""
    wanted = [NEEDS[term] for term in losses.contrast.weights]
    pixel = dict.fromkeys(view for views, _ in wanted for view in views)
    adversarial = dict.fromkeys(view for _, views in wanted for view in views)
    if losses.pixel.weight > 0:
        pixel.pop(losses.pixel.view, None)
    adversarial.pop(losses.adversarial.view, None)
    return list(pixel), list(adversarial)


def choose_rankers(
    config: TrainConfig, given: Rankers | None, device: torch.device | None = None
) -> Rankers:
    """The given Rankers, or else the configured ones.

    Raises:
        InvalidConfig: Rankers are given and others configured, which the run's ``config.yaml``
            would tell of; or one of those given does not normalise as ``losses.rank.statistics``
            says, or does not say what it normalises by.
        UnknownName, InvalidInput, InvalidCheckpoint, ServiceUnavailable: see `open_rankers`.
    """
    if given is None:
        return open_rankers(config, device)
    rank = config.losses.rank
    if rank.rankers:
        specs = ", ".join(one.spec for one in rank.rankers)
        raise InvalidConfig(
            f"losses.rank.rankers names {specs}, and the training is given other Rankers: set the "
            "key to [], or give none",
            field="losses.rank.rankers",
        )
    if rank.statistics is not None:
        for ranker, _ in given:
            _require_normalising_by(rank.statistics, ranker)
    return given


def _require_normalising_by(statistics: str, ranker: DifferentiableScorer) -> None:
    """Refuse an object that normalises by something else, or of which that cannot be known."""
    said = f"losses.rank.statistics is {statistics}"
    if isinstance(ranker, RemoteScorer):
        why = f"what {ranker.info.name} normalises by is said where it is served: set it to null"
    # A Ranker of ours knows it; this package does without the one that such a Ranker comes from.
    elif (by_batch := getattr(ranker, "batch_statistics", None)) is not None:
        if by_batch == (statistics == "batch"):
            return
        why = (
            f"{ranker.info.name} normalises by {'batch' if by_batch else 'running'}: open it with "
            f"batch_statistics={not by_batch}, or set the key to null"
        )
    elif statistics == "running" and isinstance(ranker, nn.Module):
        return  # a training puts it in eval(), see `frozen`
    else:
        why = f"{ranker.info.name} does not say that it normalises so: set the key to null"
    raise InvalidConfig(f"{said}; {why}", field="losses.rank.statistics")


def open_rankers(config: TrainConfig, device: torch.device | None = None) -> Rankers:
    """The configured Rankers, in this process or in services, each with its weight.

    Args:
        config: names them.
        device: where those in this process compute that say nothing else.

    Raises:
        InvalidConfig: a scorer without a gradient, or ``losses.rank.statistics`` for a service or
            what knows no such choice.
        UnknownName, InvalidInput, InvalidCheckpoint, ServiceUnavailable: see `open_scorer`.
    """
    rank = config.losses.rank
    rankers = [
        ranker.model_copy(update={"spec": _normalising_by(rank.statistics, ranker.spec)})
        for ranker in rank.rankers
    ]
    try:
        return _open(rankers, rank, device, "a rank loss", "losses.rank.rankers")
    except InvalidInput as error:
        if rank.statistics is None or error.field != "statistics":
            raise
        raise InvalidConfig(
            f"losses.rank.statistics is {rank.statistics}: {error.message}; set the key to null",
            field="losses.rank.statistics",
        ) from error


def _normalising_by(statistics: str | None, spec: str) -> str:
    """The Ranker with the option that says so, unless its own ones say something of it already."""
    if statistics is not None and names_sum(spec):
        raise InvalidConfig(
            f"losses.rank.statistics is {statistics}; of a sum, {spec}, each term says it for "
            f"itself (FILE?statistics={statistics}): set the key to null",
            field="losses.rank.statistics",
        )
    if statistics is None or says(spec, "statistics"):
        return spec
    if is_remote(spec):
        place = spec.partition("?")[0]
        raise InvalidConfig(
            f"losses.rank.statistics is {statistics}; what {place} normalises by is said where it "
            f"is served (FILE?statistics={statistics}): set the key to null here",
            field="losses.rank.statistics",
        )
    return with_option(spec, "statistics", statistics)


def _open(
    wanted: Sequence[ScorerConfig],
    remote: RankConfig,
    device: torch.device | None,
    purpose: str,
    field: str,
) -> WeightedScorers:
    opened: list[tuple[DifferentiableScorer, float]] = []
    for one in wanted:
        scorer = open_on(one.spec, device, timeout=remote.timeout, retry_for=remote.retry_for)
        if not isinstance(scorer, DifferentiableScorer):
            raise InvalidConfig(f"{one.spec} cannot be {purpose}: it has no gradient", field=field)
        opened.append((scorer, one.weight))
    return opened


def choose_features(
    config: TrainConfig, given: FeatureNetwork | None, device: torch.device
) -> FeatureNetwork | None:
    """The given network, or else the configured one; None if its weight is 0.

    Raises:
        InvalidConfig: a positive weight and nothing to compute features with; or a network is given
            and another configured, which the run's ``config.yaml`` would tell of.
        MissingAsset, InvalidCheckpoint: see `open_feature_network`.
    """
    perceptual = config.losses.perceptual
    if perceptual.weight == 0:
        if config.discriminator is not None:
            log.info("no perceptual term is used (losses.perceptual.weight is 0)")
        return None
    if given is not None:
        if perceptual.network is not None:
            raise InvalidConfig(
                f"losses.perceptual.network names {perceptual.network}, and the training is given "
                f"another network, {given.name}: set the key to null, or give none",
                field="losses.perceptual.network",
            )
        return given
    if perceptual.network is None:
        raise InvalidConfig(
            f"losses.perceptual.weight is {perceptual.weight:g} but losses.perceptual.network is "
            "null: name VGG19's weights or another network, or set the weight to 0",
            field="losses.perceptual.network",
        )
    return open_feature_network(perceptual.network, device, list(perceptual.layers))
