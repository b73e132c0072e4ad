"""What a client may ask a generators' service to train."""

from __future__ import annotations

from pydantic import Field

from ranksrgan.contracts.config import Config
from ranksrgan.contracts.config_limits import check_limits
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.data.degradation import SecondOrder

SETTING = "training_limits"


class GeneratorLimits(Config):
    features: int = Field(default=256, ge=1)
    blocks: int = Field(default=64, ge=1)
    growth: int = Field(default=128, ge=1)
    bottleneck: int = Field(default=256, ge=1)


class DiscriminatorLimits(Config):
    width: int = Field(default=256, ge=1)


class DataLimits(Config):
    crop: int = Field(default=1024, ge=1)
    batch: int = Field(default=256, ge=1)
    workers: int = Field(default=16, ge=1)
    memory_mib: int = Field(default=16_384, ge=0)


class PerceptualLimits(Config):
    layers: int = Field(default=32, ge=1)


class RankLimits(Config):
    rankers: int = Field(default=8, ge=0)


class LossesLimits(Config):
    perceptual: PerceptualLimits = PerceptualLimits()
    rank: RankLimits = RankLimits()
    scorers: int = Field(default=8, ge=0)


class ScheduleLimits(Config):
    milestones: int = Field(default=100, ge=1)


class OptimiserLimits(Config):
    schedule: ScheduleLimits = ScheduleLimits()


class ValidationLimits(Config):
    border: int = Field(default=256, ge=0)
    scorers: int = Field(default=32, ge=0)
    if_available: int = Field(default=32, ge=0)
    best: int = Field(default=32, ge=1)


class RunLimits(Config):
    steps: int = Field(default=10_000_000, ge=1)
    log_every: int = Field(default=100_000, ge=1)


class TrainingLimits(Config):
    """The most of some keys of `TrainConfig`, in the same place; of those with many values, the
    most of these. The defaults are several times what the recipes have.

    Attributes:
        step_megapixels: of all HR crops of a step together, in 2^20 pixels.
        resize: the upper end of a degradation's ``factor``.
    """

    generator: GeneratorLimits = GeneratorLimits()
    discriminator: DiscriminatorLimits = DiscriminatorLimits()
    data: DataLimits = DataLimits()
    losses: LossesLimits = LossesLimits()
    optimiser: OptimiserLimits = OptimiserLimits()
    validation: ValidationLimits = ValidationLimits()
    run: RunLimits = RunLimits()
    step_megapixels: int = Field(default=32, ge=1)
    resize: int = Field(default=4, ge=1)


def check_training(config: TrainConfig, limits: TrainingLimits) -> None:
    """Refuse a training that is larger than a service's trainings are, before it is begun.

    Args:
        config: with all its defaults. Of what the client has sent, `check_limits` is asked before
            its names are looked up.
        limits: of the service.

    Raises:
        InvalidConfig: names the key and the limit.
    """
    check_limits(config.model_dump(), limits, SETTING)
    data = config.data
    pixels = data.batch * data.crop**2
    if pixels > limits.step_megapixels * 2**20:
        raise InvalidConfig(
            f"data.batch: {data.batch} crops of {data.crop} x {data.crop} pixels a step are more "
            f"than this server allows, {limits.step_megapixels} megapixels "
            f"({SETTING}.step_megapixels)",
            field="data.batch",
        )
    if isinstance(data.degradation, SecondOrder):
        for stage in ("first", "second"):
            upper = getattr(data.degradation, stage).factor[1]
            if not upper <= limits.resize:
                field = f"data.degradation.{stage}.factor"
                raise InvalidConfig(
                    f"{field}: {upper:g} is more than this server allows, {limits.resize} "
                    f"({SETTING}.resize)",
                    field=field,
                )
