"""The configuration of a training and the recipes that come with the package.

A recipe is a YAML file of `TrainConfig`; `load_recipe` finds the packaged ones by name. What every
key means is said once, in the recipes; here stand types, ranges and defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from ranksrgan.contracts import config
from ranksrgan.contracts.config import Config, in_order
from ranksrgan.contracts.device import Precision
from ranksrgan.srgan.data.degradation import Bicubic, Degradation, RealScene
from ranksrgan.srgan.discriminators import DISCRIMINATORS
from ranksrgan.srgan.generators.generator import View
from ranksrgan.srgan.losses import AdversarialCriterion, ContrastTerm, Criterion, RankFunction
from ranksrgan.srgan.losses.contrast import MAX_TEMPERATURE

RECIPES = Path(__file__).parent / "recipes"

#: Of Adam: at 1 a mean would never forget, and its correction would divide by zero.
Beta = Annotated[float, Field(ge=0, lt=1)]
#: Further seeds are made of it that have to fit 64 bits, too.
Seed = Annotated[int, Field(ge=0, lt=2**32)]


# What each generator is made of, with its published size.
_SIZES: dict[str, dict[str, int]] = {
    "srresnet": {"features": 64, "blocks": 16},
    "msrresnet": {"features": 64, "blocks": 16},
    "rrdbnet": {"features": 64, "blocks": 23, "growth": 32},
    "two_view_rrdbnet": {"features": 64, "blocks": 23, "growth": 32},
    "edsr": {"features": 64, "blocks": 16},
    "fsrcnn": {"features": 56, "blocks": 4, "bottleneck": 12},
}


def _without_younger_defaults(
    config: Config, written: dict[str, Any], *younger: str
) -> dict[str, Any]:
    """What is written of a configuration, less what was not there when trainings were addressed.

    Experiments address theirs by all that is written: a ``younger`` key is left out where it says
    what was so without it.
    """
    for key in younger:
        if getattr(config, key) == type(config).model_fields[key].default:
            written.pop(key, None)
    return written


class GeneratorConfig(Config):
    """Sizes that are not given are the published ones of the architecture."""

    architecture: Literal[
        "srresnet", "msrresnet", "rrdbnet", "two_view_rrdbnet", "edsr", "fsrcnn"
    ] = "srresnet"
    features: PositiveInt = 64
    blocks: PositiveInt = 16
    growth: PositiveInt | None = None
    bottleneck: PositiveInt | None = None
    scale: Literal[1, 2, 3, 4] = 4
    weights: Path | None = None
    trunk_weights: Path | None = None
    as_published: bool = False

    @model_validator(mode="before")
    @classmethod
    def _published_size(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        return {**_SIZES.get(str(content.get("architecture", "srresnet")), {}), **content}

    @model_validator(mode="after")
    def _sizes_of_the_architecture(self) -> GeneratorConfig:
        for name in ("growth", "bottleneck"):
            if (getattr(self, name) is not None) != (name in _SIZES[self.architecture]):
                owners = " and ".join(key for key, sizes in _SIZES.items() if name in sizes)
                raise ValueError(f"{name} is for {owners} alone, and needed there")
        if self.scale not in ({1, 4} if self.two_view else {2, 3, 4}):
            raise ValueError(
                f"scale is {self.scale}; that of a two_view_rrdbnet is 4 or 1, of others 2, 3 or 4"
            )
        if self.trunk_weights is not None and (self.weights is not None or not self.two_view):
            raise ValueError(
                "trunk_weights are an RRDBNet's, for a two_view_rrdbnet whose projector is new: "
                "leave them out elsewhere, and beside weights"
            )
        if self.as_published and self.architecture not in {"srresnet", "msrresnet"}:
            raise ValueError(
                f"as_published is for srresnet and msrresnet; {self.architecture} starts as "
                "published in any case"
            )
        return self

    @property
    def two_view(self) -> bool:
        """Whether criteria may look at different views of its result."""
        return self.architecture == "two_view_rrdbnet"

    def options(self) -> dict[str, Any]:
        """What the network's constructor is given."""
        names = (*_SIZES[self.architecture], "scale")
        options = {name: getattr(self, name) for name in names}
        return {**options, "as_published": True} if self.as_published else options


class DiscriminatorConfig(Config):
    architecture: Literal["vgg", "vgg_128", "vgg_296", "patch", "unet"] = "vgg"
    width: PositiveInt = 64
    weights: Path | None = None


class DataConfig(Config):
    hr: Path | None = None
    lr: Path | None = None
    degradation: Degradation = Bicubic()
    crop: PositiveInt = 128
    batch: PositiveInt = 16
    flip: bool = True
    rotate: bool = True
    round: bool = True
    memory_mib: NonNegativeInt = 4096
    workers: Annotated[int, Field(ge=1, le=64)] = 2

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_younger_defaults(self, write(self), "round")

    @model_validator(mode="after")
    def _one_origin_of_lr(self) -> DataConfig:
        if self.lr is not None and self.makes_lr:
            raise ValueError(
                "data.lr gives the LR images and data.degradation makes them: leave one of them out"
            )
        if not self.round and (self.lr is not None or self.degradation != Bicubic()):
            raise ValueError(
                "data.round=false is for LR images that bicubic makes: leave data.lr and "
                "data.degradation out, or round"
            )
        return self

    @property
    def makes_lr(self) -> bool:
        """Whether ``degradation`` is for HR images; noise alone may come on top of given LR."""
        made = self.degradation
        return made.kernels is not None if isinstance(made, RealScene) else made != Bicubic()


class PixelConfig(Config):
    weight: NonNegativeFloat = 0.0
    criterion: Criterion = "l1"
    view: View = "fused"


class PerceptualConfig(Config):
    weight: NonNegativeFloat = 0.0
    criterion: Criterion = "l1"
    network: str | None = None
    layers: dict[str, PositiveFloat] = Field(default_factory=dict)

    @field_validator("layers")
    @classmethod
    def _in_order(cls, layers: dict[str, float]) -> dict[str, float]:
        return in_order(layers)


class AdversarialConfig(Config):
    weight: NonNegativeFloat = 0.0
    criterion: AdversarialCriterion = "vanilla"
    view: View = "fused"


class ContrastConfig(Config):
    """The criteria contrast, see `ranksrgan.srgan.losses.contrast`; a weight of 0 is without."""

    ratio: NonNegativeFloat = 0.0
    alignment: NonNegativeFloat = 0.0
    negative: NonNegativeFloat = 0.0
    uniformity: NonNegativeFloat = 0.0
    pixel: PositiveFloat = 0.01
    perceptual: PositiveFloat = 1.0
    adversarial: PositiveFloat = 5e-3
    temperature: float = Field(default=2.0, ge=1, le=MAX_TEMPERATURE)
    epsilon: PositiveFloat = 1e-3

    @property
    def weights(self) -> dict[ContrastTerm, float]:
        """Of the terms that there are."""
        every: dict[ContrastTerm, float] = {
            "ratio": self.ratio,
            "alignment": self.alignment,
            "negative": self.negative,
            "uniformity": self.uniformity,
        }
        return {name: weight for name, weight in every.items() if weight > 0}


class ScorerConfig(Config):
    spec: str
    weight: PositiveFloat = 1.0


class RankConfig(Config):
    weight: NonNegativeFloat = 0.0
    rankers: tuple[ScorerConfig, ...] = ()
    function: RankFunction = "sigmoid"
    bias: float = 0.0
    reduction: Literal["mean", "sum"] = "mean"
    jitter: NonNegativeInt = 0
    statistics: Literal["running", "batch"] | None = None
    timeout: PositiveFloat = 120.0
    retry_for: NonNegativeFloat = 60.0

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_younger_defaults(self, write(self), "statistics")


class LossesConfig(Config):
    pixel: PixelConfig = PixelConfig()
    perceptual: PerceptualConfig = PerceptualConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    contrast: ContrastConfig = ContrastConfig()
    rank: RankConfig = RankConfig()
    scorers: tuple[ScorerConfig, ...] = ()


class Constant(Config):
    kind: Literal["constant"] = "constant"


class MultiStep(Config):
    kind: Literal["multistep"] = "multistep"
    milestones: tuple[PositiveInt, ...]
    factor: PositiveFloat = 0.5

    @field_validator("milestones")
    @classmethod
    def _milestones_rise(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        for milestone, following in pairwise(milestones):
            if following <= milestone:
                raise ValueError(
                    f"{following} follows {milestone}; each milestone is a later step than the one "
                    "before"
                )
        return milestones


class Cosine(Config):
    kind: Literal["cosine"] = "cosine"
    period: PositiveInt
    minimum: NonNegativeFloat = 0.0


Schedule = Constant | MultiStep | Cosine


class OptimiserConfig(Config):
    generator_lr: PositiveFloat = 1e-4
    discriminator_lr: PositiveFloat = 1e-4
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    ema: float = Field(default=0.0, ge=0, lt=1)
    warmup: NonNegativeInt = 0
    accumulate: PositiveInt = 1
    schedule: Annotated[Schedule, Field(discriminator="kind")] = Constant()


class DriftConfig(Config):
    optimised: tuple[str, ...] = Field(min_length=1)
    held_out: tuple[str, ...] = Field(min_length=1)
    over: int = Field(default=5, ge=3)
    agreement: float = Field(default=0.8, gt=0, le=1)
    stop: bool = False


#: Columns that every validation has.
STANDARD_COLUMNS = ("psnr", "ssim", "niqe")


class ValidationConfig(Config):
    hr: Path | None = None
    lr: Path | None = None
    degradation: Literal["bicubic", "as_training"] = "bicubic"
    every: PositiveInt = 5000
    border: NonNegativeInt | None = None
    scorers: tuple[str, ...] = ()
    if_available: tuple[str, ...] = ()
    best: str | Annotated[dict[str, PositiveFloat], Field(min_length=1)] = "psnr"
    drift: DriftConfig | None = None

    @field_validator("best")
    @classmethod
    def _best_in_order(cls, best: str | dict[str, float]) -> str | dict[str, float]:
        return best if isinstance(best, str) else in_order(best, STANDARD_COLUMNS)

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_younger_defaults(self, write(self), "lr", "degradation")


class RunConfig(Config):
    steps: PositiveInt = 400_000
    seed: Seed = 10
    device: str = "auto"
    precision: Precision = "auto"
    compile: bool = False
    graph: bool = True
    save_every: PositiveInt = 5000
    log_every: PositiveInt = 100
    tensorboard: bool = True


class TrainConfig(Config):
    """Everything that decides a training."""

    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig | None = None
    data: DataConfig = DataConfig()
    losses: LossesConfig = LossesConfig(pixel=PixelConfig(weight=1.0))
    optimiser: OptimiserConfig = OptimiserConfig()
    validation: ValidationConfig = ValidationConfig()
    run: RunConfig = RunConfig()

    @property
    def border(self) -> int:
        """Pixels that a validation leaves out on each side: the scale, if nothing else is said."""
        border = self.validation.border
        return self.generator.scale if border is None else border

    @model_validator(mode="after")
    def _border_is_a_number(self) -> TrainConfig:
        """Of a configuration that is written down, the border does not hang on what null means."""
        validation = self.validation.model_copy(update={"border": self.border})
        object.__setattr__(self, "validation", validation)  # a frozen one is still being made here
        return self

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        data, losses, accumulate = self.data, self.losses, self.optimiser.accumulate
        if data.batch % accumulate:
            raise ValueError(
                f"data.batch is {data.batch}; optimiser.accumulate={accumulate} cannot divide it "
                "into equal parts"
            )
        if data.crop % self.generator.scale:
            raise ValueError(
                f"data.crop is {data.crop}; it has to be a multiple of the scale, "
                f"{self.generator.scale}"
            )
        if losses.rank.jitter >= data.crop:
            raise ValueError(
                f"losses.rank.jitter is {losses.rank.jitter}; crops of {data.crop} pixels leave "
                "nothing to see then"
            )
        weights = (
            losses.pixel.weight,
            losses.perceptual.weight,
            losses.adversarial.weight,
            losses.rank.weight,
        )
        if not any(weights) and not losses.scorers:
            raise ValueError("losses: every weight is 0, so there is nothing to learn")
        self._check_views()
        self._check_schedule()
        self._check_validation()
        if (self.discriminator is None) != (losses.adversarial.weight == 0):
            raise ValueError(
                "discriminator and losses.adversarial.weight go together: give both, or a null "
                "discriminator with weight 0"
            )
        if self.discriminator is not None:
            architecture = self.discriminator.architecture
            sides = DISCRIMINATORS[architecture].sides
            if not sides.allow(data.crop):
                raise ValueError(
                    f"data.crop is {data.crop}; the discriminator {architecture} takes {sides}"
                )
            fewest = data.batch // accumulate * (data.crop // sides.least) ** 2
            if architecture == "vgg" and fewest < 2:
                raise ValueError(
                    "data.batch over optimiser.accumulate is 1 and data.crop below 64: the "
                    "discriminator would normalise over a single value; enlarge one of them"
                )
        return self

    def _check_schedule(self) -> None:
        optimiser, schedule = self.optimiser, self.optimiser.schedule
        names = ["generator_lr"]
        if self.discriminator is not None:
            names.append("discriminator_lr")
        for name in names:
            rate: float = getattr(optimiser, name)
            if isinstance(schedule, Cosine) and schedule.minimum > rate:
                raise ValueError(
                    f"optimiser.schedule.minimum is {schedule.minimum:g}, above optimiser.{name}, "
                    f"{rate:g}: the rate falls to the minimum, which is at most where it begins"
                )

    def _check_validation(self) -> None:
        data, validation = self.data, self.validation
        if validation.lr is not None and validation.hr is None:
            raise ValueError("validation.lr belongs to images of validation.hr: give both")
        names = [*STANDARD_COLUMNS]  # of two of one name the second would replace the first
        for name in (*validation.scorers, *validation.if_available):
            if name in names:
                raise ValueError(
                    f"validation: {name} would be two columns of one name; {', '.join(names)} are "
                    "there already (another border is niqe?border=0)"
                )
            names.append(name)
        if validation.hr is None or validation.degradation == "bicubic":
            return
        if validation.lr is not None and data.makes_lr:
            raise ValueError(
                "validation.lr gives the LR images and data.degradation makes them: leave it out, "
                "or set validation.degradation to bicubic"
            )
        if validation.lr is None and data.lr is not None:
            raise ValueError(
                "validation.degradation is as_training, whose LR images data.lr gives: give those "
                "of validation.hr as validation.lr, or set validation.degradation to bicubic"
            )

    def _check_views(self) -> None:
        losses = self.losses
        views = {"pixel": losses.pixel.view, "adversarial": losses.adversarial.view}
        if not self.generator.two_view:
            for name, view in views.items():
                if view != "fused":
                    raise ValueError(
                        f"losses.{name}.view is {view}; {self.generator.architecture} has one view "
                        "of an image, fused: generator.architecture=two_view_rrdbnet has three"
                    )
        if not losses.contrast.weights:
            return
        if not self.generator.two_view:
            raise ValueError(
                "losses.contrast compares criteria on different views of an image, which "
                "generator.architecture=two_view_rrdbnet has"
            )
        if losses.adversarial.criterion == "hinge":
            raise ValueError(
                "losses.contrast compares losses that are 0 at best; the generator's hinge loss "
                "has no least value: choose another losses.adversarial.criterion"
            )
        for name in ("perceptual", "adversarial"):
            if getattr(losses, name).weight == 0:
                raise ValueError(
                    f"losses.contrast compares the {name} loss with others, and "
                    f"losses.{name}.weight is 0"
                )


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a packaged recipe by name (``srresnet``, ``srgan``, ``ranksrgan``...) or a YAML file.

    Args:
        name: a recipe's name, or the path of a file that ends in ``.yaml`` or ``.yml``.
        overrides: ``key.key=value`` each.

    Raises:
        UnknownName: no such recipe.
        InvalidConfig: unknown key, wrong type or impossible combination.
    """
    return config.load_recipe(TrainConfig, RECIPES, name, overrides)
