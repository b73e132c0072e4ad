"""What clients may have trained, at and beyond what their operator allows."""

from __future__ import annotations

from typing import Any

import pytest

from ranksrgan.contracts.config import recipe_names
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.ranker_training import TrainingRequest
from ranksrgan.ranker import load_recipe
from ranksrgan.ranker.config import RECIPES, TrainConfig
from ranksrgan.ranker.training_limits import TrainingLimits, check_request

LIMITS = TrainingLimits()


def request(config: dict[str, Any]) -> TrainingRequest:
    return TrainingRequest(dataset="datasets/noise", split="", validation_split="", config=config)


@pytest.mark.parametrize(
    "key", ["width", "batch", "steps", "border", "crop", "jitter", "log_every"]
)
def test_numbers(key: str) -> None:
    most = getattr(LIMITS, key)
    check_request(request({key: most}), LIMITS)
    for beyond in (most + 1, 10**12):
        with pytest.raises(InvalidConfig, match=rf"\(training_limits\.{key}\)") as caught:
            check_request(request({key: beyond}), LIMITS)
        assert caught.value.field == key
    TrainConfig(**{key: most + 1})  # within a process nothing is limited


@pytest.mark.parametrize(("key", "one"), [("further", "niqe?border={}"), ("halve_at", "{}")])
def test_lists(key: str, one: str) -> None:
    most = getattr(LIMITS, key)
    ones = [one.format(k + 1) for k in range(most + 1)]
    check_request(request({key: ones[:most]}), LIMITS)
    with pytest.raises(InvalidConfig, match=f"{most + 1} entries are more") as caught:
        check_request(request({key: ones}), LIMITS)
    assert caught.value.field == key


def test_defaults_count_too() -> None:
    with pytest.raises(InvalidConfig, match="steps: 300000 is more than this server allows, 1000"):
        check_request(request({}), TrainingLimits(steps=1000))


def test_numbers_as_text_count_too() -> None:
    with pytest.raises(InvalidConfig, match="width: 1e"):
        check_request(request({"width": "1000000"}), LIMITS)


@pytest.mark.parametrize("recipe", recipe_names(RECIPES))
def test_every_recipe_is_within(recipe: str) -> None:
    check_request(request(load_recipe(recipe).model_dump(mode="json")), LIMITS)
