"""What clients may have trained, at and beyond what their operator allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ranksrgan.contracts.config import make_config, recipe_names
from ranksrgan.contracts.config_limits import check_limits
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.srgan import load_recipe
from ranksrgan.srgan.config import RECIPES, TrainConfig
from ranksrgan.srgan.training_limits import SETTING, TrainingLimits, check_training

LIMITS = TrainingLimits()

SPEC = {"spec": "rankers/tiny"}
DEGRADATION = {"kind": "second_order"}


def nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def configured(key: str, value: Any, **sections: Any) -> TrainConfig:
    content: dict[str, Any] = {**sections}
    for name, section in nested(key, value).items():
        content[name] = {**content.get(name, {}), **section}
    return make_config(TrainConfig, content)


def most_of(key: str) -> int:
    value: Any = LIMITS
    for part in key.split("."):
        value = getattr(value, part)
    assert isinstance(value, int)
    return value


@pytest.mark.parametrize(
    ("key", "sections"),
    [
        ("generator.features", {}),
        ("generator.blocks", {}),
        ("generator.growth", {"generator": {"architecture": "rrdbnet"}}),
        ("generator.bottleneck", {"generator": {"architecture": "fsrcnn"}}),
        (
            "discriminator.width",
            {"losses": {"adversarial": {"weight": 1}}, "discriminator": {"architecture": "vgg"}},
        ),
        ("data.batch", {}),
        ("data.workers", {}),
        ("data.memory_mib", {}),
        ("validation.border", {}),
        ("run.steps", {}),
        ("run.log_every", {}),
    ],
)
def test_numbers(key: str, sections: Mapping[str, Any]) -> None:
    most = most_of(key)
    check_training(configured(key, most, **sections), LIMITS)
    with pytest.raises(
        InvalidConfig, match=rf"allows, {most} \(training_limits\.{key}\)"
    ) as caught:
        # Within a process nothing is limited.
        check_training(configured(key, most + 1, **sections), LIMITS)
    assert caught.value.field == key


@pytest.mark.parametrize(
    ("key", "one"),
    [
        ("losses.rank.rankers", SPEC),
        ("losses.scorers", SPEC),
        ("validation.scorers", "rmse"),
        ("validation.if_available", "ma"),
    ],
)
def test_lists_are_counted_before_their_names_are_looked_up(key: str, one: Any) -> None:
    most = most_of(key)
    check_limits(nested(key, [one] * most), LIMITS, SETTING)
    with pytest.raises(InvalidConfig, match=f"{most + 1} entries are more") as caught:
        check_limits(nested(key, [one] * (most + 1)), LIMITS, SETTING)
    assert caught.value.field == key


def test_crops_and_what_they_come_to_together() -> None:
    side = LIMITS.data.crop
    check_training(configured("data.crop", side, data={"batch": 16}), LIMITS)
    with pytest.raises(InvalidConfig, match=rf"data\.crop: {side + 4} is more"):
        check_training(configured("data.crop", side + 4, data={"batch": 16}), LIMITS)
    check_training(configured("data.crop", side, data={"batch": 32}), LIMITS)
    with pytest.raises(InvalidConfig, match=r"33 crops of 1024 x 1024 .* 32 megapixels") as caught:
        check_training(configured("data.crop", side, data={"batch": 33}), LIMITS)
    assert caught.value.field == "data.batch"


@pytest.mark.parametrize("stage", ["first", "second"])
def test_a_degradation_does_not_enlarge_without_end(stage: str) -> None:
    key = "data.degradation"
    within = {**DEGRADATION, stage: {"factor": [0.5, LIMITS.resize]}}
    check_training(configured(key, within), LIMITS)
    beyond = {**DEGRADATION, stage: {"factor": [0.5, 1e6]}}
    with pytest.raises(InvalidConfig, match=rf"{stage}\.factor: 1e\+06 is more") as caught:
        check_training(configured(key, beyond), LIMITS)
    assert caught.value.field == f"{key}.{stage}.factor"


def test_defaults_count_too() -> None:
    lower = TrainingLimits.model_validate({"run": {"steps": 1000}})
    with pytest.raises(InvalidConfig, match=r"run\.steps: 400000 is more than .*allows, 1000"):
        check_training(TrainConfig(), lower)


@pytest.mark.parametrize("recipe", recipe_names(RECIPES))
def test_every_recipe_is_within(recipe: str) -> None:
    ranker = "losses.rank.rankers=[{spec: rankers/niqe}]"
    overrides = [ranker] if "rank" in recipe else []
    check_training(load_recipe(recipe, overrides), LIMITS)
