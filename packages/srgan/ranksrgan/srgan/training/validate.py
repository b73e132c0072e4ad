"""Validation during a training."""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch

from ranksrgan.contracts.errors import (
    InvalidCheckpoint,
    InvalidConfig,
    InvalidImage,
    InvalidInput,
    MissingAsset,
    TrainingDiverged,
)
from ranksrgan.contracts.scorer import DifferentiableScorer, Scorer
from ranksrgan.metrics import create_scorer
from ranksrgan.srgan.config import STANDARD_COLUMNS, DriftConfig, ScorerConfig, TrainConfig
from ranksrgan.srgan.data.crops import Photograph
from ranksrgan.srgan.data.validation_images import validation_photographs
from ranksrgan.srgan.evaluate import (
    evaluate_photographs,
    require_free_names,
    standard_scorers,
)
from ranksrgan.srgan.generators.generator import Generator
from ranksrgan.srgan.training.best import BestRule
from ranksrgan.srgan.training.drift import DriftAlarm
from ranksrgan.srgan.training.local_scorer import open_on
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler

log = logging.getLogger(__name__)

# What a drift alarm looks at where none is configured.
_HELD_OUT = frozenset({"lpips", "dists"})


class Validation:
    """Scores a generator on a folder of whole images, the same way each time.

    Args:
        config: ``validation.hr`` is set.
        rankers: of the rank loss; their scores appear as ``ranker``, or ``ranker1``, ``ranker2``
            and so on if there are several.
        scorers: further scorers by name, which is that of no other column.
        device: where those of ``validation.scorers`` compute that say nothing else.

    Raises:
        InvalidConfig: ``validation.best`` or ``validation.drift`` names none of the scorers.
        UnknownName: ``validation.if_available`` names no metric.
        InvalidInput: the name of one of ``scorers`` is taken; and see `validation_photographs`.
        InvalidImage, InvalidDataset: see `validation_photographs`.
    """

    def __init__(
        self,
        config: TrainConfig,
        rankers: Sequence[tuple[DifferentiableScorer, float]],
        scorers: Mapping[str, Scorer],
        device: torch.device | None = None,
    ) -> None:
        names = ranker_columns(len(rankers))
        # Of those of if_available too whose files are not here: what is refused would else hang on
        # the machine.
        wanted = (*config.validation.scorers, *config.validation.if_available)
        _require_columns(scorers, (*STANDARD_COLUMNS, *names, *wanted))
        self._photographs = validation_photographs(config)
        #: sha256 in hex of the images, so that a resumed run can tell that it has the same.
        self.fingerprint = _fingerprint(self._photographs, config.validation.lr is not None)
        self._scorers: dict[str, Scorer] = {
            **standard_scorers(config.border),
            **{name: ranker for name, (ranker, _) in zip(names, rankers, strict=True)},
            **{spec: open_on(spec, device) for spec in config.validation.scorers},
            **scorers,
        }
        for name in config.validation.if_available:
            if self._can_score(scorer := create_scorer(name, border=config.border)):
                self._scorers[name] = scorer
        directions = {name: scorer.info.higher_is_better for name, scorer in self._scorers.items()}
        self.best = BestRule(config.validation.best, directions)
        watched = config.validation.drift
        if watched is None and config.losses.rank.weight > 0:
            watched = _usual_drift(names, self._scorers, config.losses.scorers)
        self.drift = None if watched is None else DriftAlarm(watched, directions)

    @property
    def scorers(self) -> Collection[Scorer]:
        """All that judge here, Rankers included."""
        return self._scorers.values()

    @property
    def columns(self) -> list[str]:
        """Names of the values that `run` returns."""
        return [
            column
            for name, scorer in self._scorers.items()
            for column in ([name] if scorer.info.needs_reference else [name, f"{name}_dropped"])
        ]

    def run(self, generator: Generator) -> dict[str, float | None]:
        """Mean scores, and for each metric without a reference how many images it dropped.

        Raises:
            InvalidConfig: no image has a value of the metric that chooses the best checkpoint.
            TrainingDiverged: the generator makes pixels that are not finite.
        """
        device = next(generator.parameters()).device
        upscaler = GeneratorUpscaler(copy.deepcopy(generator), device=device)
        try:
            evaluation = evaluate_photographs(upscaler, self._photographs, self._scorers)
        except InvalidCheckpoint as error:
            if error.field != upscaler.info.name:
                raise  # a scorer's
            raise TrainingDiverged(error.message) from error
        for metric in self.best.metrics:
            if evaluation.mean(metric) is None:
                if self._fits(metric):
                    log.warning("none of the generator's pictures has a value of %s", metric)
                    continue
                raise InvalidConfig(unfit(metric), field="validation.best")
        values: dict[str, float | None] = {}
        for column in self.columns:
            name = column.removesuffix("_dropped")
            values[column] = evaluation.mean(name) if column == name else evaluation.dropped(name)
        return values

    def _fits(self, metric: str) -> bool:
        """Whether the metric has a value for one of the originals."""
        scorer = self._scorers[metric]
        return any(has_value(scorer, photograph) for photograph in self._photographs)

    def _can_score(self, scorer: Scorer) -> bool:
        """Whether its assets are here, which it may know only when it needs them."""
        photograph: Photograph = max(
            self._photographs, key=lambda photograph: photograph.hr.numel()
        )
        try:
            _score_original(scorer, photograph)
        except MissingAsset as error:
            log.warning("the validation goes without %s: %s", scorer.info.name, error)
            return False
        except InvalidImage:
            pass  # an image that it has no value for says nothing about the others
        return True


def ranker_columns(count: int) -> list[str]:
    """The columns of the rank loss's Rankers."""
    return ["ranker"] if count == 1 else [f"ranker{i + 1}" for i in range(count)]


def has_value(scorer: Scorer, photograph: Photograph) -> bool:
    """Whether the scorer has a value for an original."""
    try:
        _score_original(scorer, photograph)
    except InvalidImage:
        return False
    return True


def unfit(metric: str) -> str:
    """What is told where no image has a value of a metric that chooses the best weights."""
    return (
        f"no validation image is fit for {metric} (NIQE wants more than one block of 96 pixels "
        "inside the border): use larger images or another validation.best"
    )


def _require_columns(scorers: Mapping[str, Scorer], taken: Sequence[str]) -> None:
    """Refuse scorers whose column another one has, or would look like one of another's."""
    require_free_names(scorers, (*taken, "step", "drift"), field="validation_scorers")
    for name, scorer in scorers.items():
        if name.endswith("_dropped"):
            raise InvalidInput(
                f"validation_scorers: {scorer.info.name} is given as {name}; columns that end in "
                "_dropped count the images without a value: give it another name",
                field="validation_scorers",
            )


def _usual_drift(
    rankers: Sequence[str], scorers: Iterable[str], losses: Sequence[ScorerConfig]
) -> DriftConfig | None:
    """Rankers that are trained for against metrics that are not; None if there are none of either.

    Args:
        rankers: names of those of the rank loss.
        scorers: names of all that a validation has.
        losses: further scorers that are trained for.
    """
    losses_too = {loss.spec.partition("?")[0] for loss in losses}
    held_out = [name for name in scorers if name.partition("?")[0] in _HELD_OUT - losses_too]
    if not rankers or not held_out:
        return None
    return DriftConfig(optimised=tuple(rankers), held_out=tuple(held_out))


def _fingerprint(photographs: Iterable[Photograph], paired: bool) -> str:
    """Of names, sizes and pixels; of those of LR too where it is given and not made."""
    found = hashlib.sha256()
    for name, *images in photographs:
        for image in images if paired else images[:1]:
            found.update(f"{name} {tuple(image.shape)}\n".encode())
            found.update(image.contiguous().numpy().data)
    return found.hexdigest()


def _score_original(scorer: Scorer, photograph: Photograph) -> None:
    hr = photograph.hr[None]
    scorer.score(hr, hr if scorer.info.needs_reference else None)
