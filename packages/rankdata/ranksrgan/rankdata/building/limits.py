"""What a client may ask a rank data service to build."""

from __future__ import annotations

from pydantic import Field

from ranksrgan.contracts.config import Config
from ranksrgan.contracts.config_limits import check_limits
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.rankdata.config import BuildConfig

SETTING = "build_limits"


class BuildLimits(Config):
    """The most of some keys of `BuildConfig`; of those with many values, the most of these.

    Attributes:
        least_stride: the least ``stride``, 1 for any: an image has as many crops as the square of
            its side over it, and each is scored. 8 makes 43,000 of an image of 2040 x 1356 pixels.
    """

    levels: int = Field(default=32, ge=2)
    further: int = Field(default=16, ge=0)
    crop: int = Field(default=2048, ge=1)
    least_stride: int = Field(default=8, ge=1)


def check_build(config: BuildConfig, limits: BuildLimits) -> None:
    """Refuse a build that is larger than a service's builds are, before it is begun.

    Args:
        config: with all its defaults. Of what the client has sent, `check_limits` is asked before
            its names are looked up.
        limits: of the service.

    Raises:
        InvalidConfig: names the key and the limit.
    """
    check_limits(config.model_dump(), limits, SETTING)
    if config.crop != "whole" and config.stride < limits.least_stride:
        raise InvalidConfig(
            f"stride: {config.stride} is less than this server allows, {limits.least_stride} "
            f"({SETTING}.least_stride)",
            field="stride",
        )
