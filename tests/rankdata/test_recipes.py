from __future__ import annotations

from pathlib import Path

import pytest

from ranksrgan.contracts import open_upscaler
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.rankdata import BuildConfig, RankDataset, build
from ranksrgan.rankdata.config import PUBLISHED, load_recipe, recipe_names

# What stands in for weights and results that are not here, and for crops of 296 pixels.
STAND_INS = {
    "srresnet": "blur:3",
    "srgan": "noise:9",
    "esrgan": "jpeg:70",
    "epsr": "bicubic",
}
SMALL = ["crop=32", "stride=60", "val=0.25", "further=[]"]
LABELS = {
    "blur": "order",
    "hr_positive": "metric",
    "interpolation": "order",
    "jpeg": "order",
    "model_classification": "order",
    "noise": "order",
    "published": "metric",
    "rank100": "metric",
    "sr_results": "metric",
}


def test_there_is_one_for_each_kind() -> None:
    assert recipe_names() == sorted(LABELS)


@pytest.mark.parametrize("name", LABELS)
def test_recipe_builds(hr: Path, tmp_path: Path, name: str) -> None:
    recipe = load_recipe(name)
    stand_ins = [
        f"levels.{level}={STAND_INS[level]}"
        for level, spec in recipe.levels.items()
        if spec.startswith("PATH/TO/")
    ]
    places = [f"hr={hr}", f"output={tmp_path / 'ranks'}", "metric=rmse"]
    small = ["sources=2"] if name == "rank100" else SMALL
    config = load_recipe(name, [*places, *small, *stand_ins])
    assert config.label == LABELS[name]
    assert config.label == "order" or recipe.metric == "niqe?border=4"
    summary = build(config)
    dataset = RankDataset.open(config.output, check_hashes=True)
    assert dataset.levels == tuple(recipe.levels)
    assert sum(summary.crops.values()) == len(dataset.contents) > 0
    if name == "rank100":
        assert summary.sources == {"test": 2}
        assert {(content.height, content.width) for content in dataset.contents} == {(100, 96)}
    if config.label == "order":
        assert {c.scores for c in dataset.contents} == {(1.0, 2.0, 3.0, 4.0)[: len(recipe.levels)]}


def test_recipe_without_paths_says_which_are_missing(hr: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig) as nothing:
        build(load_recipe("blur"))
    assert nothing.value.message == (
        "the recipe leaves open hr (--hr DIR), output (-o DIR): PATH/TO/... stands there"
    )
    given = [f"hr={hr}", f"output={tmp_path / 'ranks'}", "levels.esrgan=bicubic"]
    with pytest.raises(InvalidConfig) as levels:
        build(load_recipe("sr_results", given), upscalers={"srgan": open_upscaler("bicubic")})
    assert levels.value.field == "levels.srresnet"
    assert levels.value.message == (
        "the recipe leaves open levels.srresnet (--level srresnet=FILE): PATH/TO/... stands there; "
        "a level is a weights file, the name of a shipped network, a folder of finished results or "
        "a service"
    )
    assert not (tmp_path / "ranks").exists()


def test_recipe_of_the_published_code_is_the_preset() -> None:
    recipe = load_recipe("published")
    preset = BuildConfig.as_published(
        most_perceptual="esrgan",
        second="srgan",
        hr=recipe.hr,
        output=recipe.output,
        levels=recipe.levels,
    )
    assert recipe == preset
    assert {key: getattr(recipe, key) for key in PUBLISHED} == PUBLISHED
