from __future__ import annotations

import re

import pytest

from ranksrgan.contracts.config import load_config
from ranksrgan.contracts.errors import InvalidConfig, UnknownName
from ranksrgan.pipeline import plan
from ranksrgan.pipeline.config import PipelineConfig
from ranksrgan.ranker import load_recipe

PLACES = ["training=a", "held_out=b", "output=c"]


def test_levels_go_from_the_worst_to_the_original() -> None:
    config = load_config(PipelineConfig, None, [*PLACES, "rankdata.interpolations=[0.25, 0.9]"])
    assert plan.levels(config, "sr.safetensors", "gan.safetensors") == {
        "srresnet": "sr.safetensors",
        "srgan": "gan.safetensors",
        "srgan90": "interpolate:srgan:0.9",
        "srgan25": "interpolate:srgan:0.25",
        "hr": "hr",
    }


def test_levels_that_would_have_one_name_are_refused() -> None:
    for blends in ("[0.501, 0.5, 0.25]", "[0.25, 0.25]"):
        settings = [*PLACES, f"rankdata.interpolations={blends}"]
        with pytest.raises(
            InvalidConfig, match=rf"^rankdata\.interpolations={re.escape(blends)}: .*both the level"
        ):
            load_config(PipelineConfig, None, settings)


def test_the_ranker_has_a_recipe_too() -> None:
    config = load_config(PipelineConfig, None, [*PLACES, "seed=3", "ranker={recipe: small}"])
    assert plan.ranker_config(config) == load_recipe("small", ["seed=3"])
    settings = [*PLACES, "ranker={recipe: small, settings: [steps=7]}"]
    config = load_config(PipelineConfig, None, settings)
    assert plan.ranker_config(config) == load_recipe("small", ["steps=7"])
    config = load_config(PipelineConfig, None, PLACES)
    assert plan.ranker_config(config) == load_recipe(None)
    config = load_config(PipelineConfig, None, [*PLACES, "ranker.recipe=smal"])
    with pytest.raises(UnknownName, match=r"smal is neither a recipe \(.*small\)"):
        plan.ranker_config(config)
