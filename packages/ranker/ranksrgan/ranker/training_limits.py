"""What a client may ask a Ranker service to train."""

from __future__ import annotations

from pydantic import Field

from ranksrgan.contracts.config import Config, make_config
from ranksrgan.contracts.config_limits import check_limits
from ranksrgan.contracts.ranker_training import TrainingRequest
from ranksrgan.ranker.config import TrainConfig


class TrainingLimits(Config):
    """The most of some keys of `TrainConfig`; of those with many values, the most of these.

    The defaults are several times what the recipes have.
    """

    width: int = Field(default=256, ge=1)
    batch: int = Field(default=1024, ge=1)
    steps: int = Field(default=10_000_000, ge=1)
    crop: int = Field(default=4096, ge=0)
    border: int = Field(default=256, ge=0)
    jitter: int = Field(default=1024, ge=0)
    further: int = Field(default=16, ge=0)
    halve_at: int = Field(default=100, ge=0)
    log_every: int = Field(default=100_000, ge=1)


def check_request(request: TrainingRequest, limits: TrainingLimits) -> None:
    """Refuse a training that is larger than a service's trainings are.

    Raises:
        InvalidConfig: names the key and the limit; or what `TrainConfig` refuses.
    """
    check_limits(request.config, limits, "training_limits")
    config = make_config(TrainConfig, request.config, "config")
    check_limits(config.model_dump(), limits, "training_limits")
