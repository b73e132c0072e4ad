"""What a pipeline run can be told: the five trainings and the rank dataset between them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from ranksrgan.contracts.config import Config


class GeneratorStage(Config):
    """One training of a generator.

    Attributes:
        recipe: of ranksrgan.srgan, by name or as a YAML file.
        settings: on top of it, each ``section.key=value``; the pipeline itself sets folders,
            seed and what a stage takes over from an earlier one.
    """

    recipe: str
    settings: tuple[str, ...] = ()


class RankDataStage(Config):
    """The rank dataset: SRResNet, SRGAN, interpolations of SRGAN and HR, and HR.

    Attributes:
        metric: what orders the versions.
        interpolations: each lambda adds a level lambda * SRGAN + (1 - lambda) * HR, named by its
            percent (``srgan25``); no two may round to one percent.
        crop: side of a crop in pixels.
        stride: step between crops.
        min_sharpness: see ``ranksrgan.rankdata``.
        val: share of the training images that choose the best Ranker.
    """

    metric: str = "niqe?border=4"
    interpolations: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.25, 0.5, 0.75)
    crop: int = Field(default=296, ge=1)
    stride: int = Field(default=200, ge=1)
    min_sharpness: float = Field(default=0.0, ge=0)
    val: float = Field(default=0.1, gt=0, lt=1)

    @field_validator("interpolations")
    @classmethod
    def _named_apart(cls, blends: tuple[float, ...]) -> tuple[float, ...]:
        named: dict[str, float] = {}
        for blend in blends:
            level = blend_level(blend)
            if level in named:
                raise ValueError(
                    f"{named[level]} and {blend} are both the level {level}: levels are named by "
                    "whole percents, each once"
                )
            named[level] = blend
        return blends


def blend_level(blend: float) -> str:
    """The level that an interpolation adds: ``srgan25`` for 0.25."""
    return f"srgan{round(100 * blend)}"


class RankerStage(Config):
    """The Ranker's training.

    Attributes:
        recipe: of ranksrgan.ranker, by name or as a YAML file; null for the paper's run.
        settings: on top of it, each ``key=value``; the pipeline itself sets the seed and the size
            of a Ranker that is gone on from.
    """

    recipe: str | None = None
    settings: tuple[str, ...] = ()


class Trained(Config):
    """Networks to begin from, each a weights file or the name of a shipped one (``srgan``).

    Attributes:
        srresnet: is taken as it is; the stage of that name is left out.
        srgan: likewise. RankSRGAN and its control start from it with a new discriminator.
        ranker: the Ranker's training begins from it, in its size; null begins from random weights.
    """

    srresnet: str
    srgan: str
    ranker: str | None = None


class PipelineConfig(Config):
    """The three stages of RankSRGAN from one folder of images to a generator and its control.

    Attributes:
        training: folder of images to learn from.
        held_out: folder of images to judge by; nothing is chosen by them.
        output: folder of the run; what is there is continued.
        seed: of every stage.
        trained: networks to begin from; null trains all of them.
        srresnet: trained first, by pixels alone.
        srgan: starts from it.
        rankdata: versions of the training images, ordered by the metric.
        ranker: learns those orders.
        ranksrgan: goes on from SRGAN's generator and discriminator, with the rank-content loss.
        control: goes on from the same, without; its steps should equal those of ``ranksrgan``.
            null leaves it out.
        compare: further upscalers to judge beside, by the name in the table: what `open_upscaler`
            takes.
    """

    training: Path
    held_out: Path
    output: Path
    seed: int = Field(default=0, ge=0)
    trained: Trained | None = None
    srresnet: GeneratorStage = GeneratorStage(recipe="srresnet")
    srgan: GeneratorStage = GeneratorStage(recipe="srgan")
    rankdata: RankDataStage = RankDataStage()
    ranker: RankerStage = RankerStage()
    ranksrgan: GeneratorStage = GeneratorStage(recipe="ranksrgan")
    control: GeneratorStage | None = GeneratorStage(recipe="srgan")
    compare: dict[str, str] = Field(default_factory=dict)
