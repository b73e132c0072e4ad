"""What the training of a quality model can be told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from ranksrgan.contracts import config
from ranksrgan.contracts.config import Config, in_order
from ranksrgan.contracts.device import Precision
from ranksrgan.ranker.quality.models import MODELS
from ranksrgan.ranker.quality.objective import QualityLoss

RECIPES = Path(__file__).parent / "recipes"

#: Keys that a resumed training may change, since they move no weight.
FREE_ON_RESUME = frozenset({"validate_every", "save_every", "log_every", "device"})

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class QualityConfig(Config):
    """Training of a quality model.

    Opinions are standardised: losses and scores are in standard deviations of the opinions of the
    training set, about their mean, and rise with quality if the model's do. That, a rate that falls
    along half a cosine and a bound on the gradient are our choice for all models alike: MACS
    standardises too, IQT and SI Analytics bring opinions to [0, 1], WResNet and RADN divide them by
    the largest and take steps of 0.8 down every 50 epochs.

    Attributes:
        model: one of `MODELS`.
        options: of the model: the arguments of its constructor.
        start: a weights file whose tensors of the same name the training starts from, in the
            sizes of this model: its own kind's, or another's that shares a part with it, such as a
            WResNet's for RADN, as its authors do.
        backbone: weights of a pretrained backbone, for a model that has one.
        losses: weight of each, see ``objective``; the model's own if it is left out.
        scale: of ``bradley_terry`` and of the pretraining, in standard deviations: the gap of two
            opinions at which the odds are e to one. 1.4 is Elo's 173.7 points over the deviation of
            PIPAL's opinions, 121.
        sorter: the ranks of the loss ``ranks``: ``soft``, or those of a network that is trained to
            sort first (see `train_sorter`).
        pretrain: for so many steps first the model learns to tell which of two images people
            prefer (see `Preference`), not the opinions themselves.
        references: so many references a step.
        versions: so many versions of each, drawn anew each time.
        crop: side in pixels of the random window of each pair; 0 takes whole images, which then
            have to be of one size.
        flips: windows are mirrored and turned by quarters at random.
        lr: Adam's step size; it falls to zero along half a cosine.
        weight_decay: L2, on all parameters.
        clip: the norm that the gradient is cut to; 0 leaves it.
        steps: updates of the weights.
        seed: of the initial weights and of all that is drawn.
        validate_every: steps between two evaluations on the held-out source.
        save_every: steps between two training states on disk.
        log_every: steps between two rows of the curves.
        precision: of the convolutions, see `ranksrgan.ranker.TrainConfig`.
        device: likewise.
    """

    model: str
    options: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies defaults
    start: Path | None = None
    backbone: Path | None = None
    losses: dict[QualityLoss, Weight] = {}  # noqa: RUF012
    scale: float = Field(default=1.4, gt=0)
    sorter: Literal["soft", "learned"] = "soft"
    pretrain: int = Field(default=0, ge=0)
    references: int = Field(default=4, ge=1)
    versions: int = Field(default=4, ge=1)
    crop: int = Field(default=192, ge=0)
    flips: bool = True
    lr: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, ge=0)
    steps: int = Field(default=50_000, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    validate_every: int = Field(default=1_000, ge=1)
    save_every: int = Field(default=1_000, ge=1)
    log_every: int = Field(default=50, ge=1)
    precision: Precision = "float32"
    device: str = "auto"

    @property
    def batch(self) -> int:
        """Images a step."""
        return self.references * self.versions

    @field_validator("options")
    @classmethod
    def _options_in_order(cls, options: dict[str, Any]) -> dict[str, Any]:
        return in_order(options)

    @field_validator("losses")
    @classmethod
    def _losses_in_order(cls, losses: dict[QualityLoss, float]) -> dict[QualityLoss, float]:
        return in_order(losses, get_args(QualityLoss))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.model not in MODELS:
            raise ValueError(f"model: {self.model!r} is none of {', '.join(sorted(MODELS))}")
        if self.batch < 2:
            raise ValueError("references x versions is 1; correlations want 8 images or more")
        if self.losses and not any(self.losses.values()):
            raise ValueError("losses: none has a weight, so nothing would be learnt")
        if self.pretrain >= self.steps:
            raise ValueError("pretrain: it is a part of the steps, and leaves some of them")
        return self


def load_quality_recipe(
    model: str, name: str | Path | None = None, overrides: Sequence[str] = ()
) -> QualityConfig:
    """The configuration of a model's training.

    Args:
        model: one of `MODELS`.
        name: a YAML file that ends in ``.yaml`` or ``.yml``, or one of ``recipes/``; None for the
            defaults.
        overrides: ``key=value`` each.

    Raises:
        UnknownName: no such recipe.
        InvalidConfig: unknown key, wrong type or impossible combination.
    """
    return config.load_recipe(QualityConfig, RECIPES, name, [f"model={model}", *overrides])
