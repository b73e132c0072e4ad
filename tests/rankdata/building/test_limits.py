"""What clients may have built, at and beyond what their operator allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ranksrgan.contracts.config_limits import check_limits
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.rankdata.building.limits import SETTING, BuildLimits, check_build
from ranksrgan.rankdata.config import BuildConfig

LIMITS = BuildLimits(least_stride=16)


def configured(**keys: Any) -> BuildConfig:
    given = {"hr": Path("hr"), "output": Path("out"), "levels": {"a": "hr", "b": "bicubic"}}
    return BuildConfig.model_validate({**given, **keys})


@pytest.mark.parametrize(
    ("field", "within", "beyond"),
    [
        ("crop", LIMITS.crop, LIMITS.crop + 1),
        ("crop", "whole", 10**6),
        ("stride", LIMITS.least_stride, LIMITS.least_stride - 1),
        ("stride", 200, 1),
        ("further", ("rmse",) * LIMITS.further, ("rmse",) * (LIMITS.further + 1)),
    ],
)
def test_what_is_within_and_what_is_beyond(field: str, within: Any, beyond: Any) -> None:
    check_build(configured(**{field: within}), LIMITS)
    with pytest.raises(InvalidConfig, match=r"\(build_limits\.") as caught:
        # Within a process nothing is limited.
        check_build(configured(**{field: beyond}), LIMITS)
    assert caught.value.field == field


def test_strides_that_make_a_build_of_one_image_are_not_for_clients() -> None:
    with pytest.raises(InvalidConfig, match=r"stride: 7 is less than this server allows, 8"):
        check_build(configured(stride=7), BuildLimits())


def test_levels_are_counted_before_they_are_looked_up() -> None:
    levels = [f"level{n}=blur:1" for n in range(LIMITS.levels + 1)]
    check_limits({"levels": levels[1:]}, LIMITS, SETTING)
    with pytest.raises(InvalidConfig, match="33 entries are more") as caught:
        check_limits({"levels": levels}, LIMITS, SETTING)
    assert caught.value.field == "levels"


def test_images_that_are_one_crop_have_no_stride() -> None:
    check_build(configured(crop="whole", stride=1), LIMITS)
