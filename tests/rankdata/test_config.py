from __future__ import annotations

from pathlib import Path

import pytest

from ranksrgan.contracts.config import dump_yaml, load_config
from ranksrgan.contracts.errors import InvalidConfig, UnknownName
from ranksrgan.rankdata.config import PUBLISHED_MIN_SHARPNESS, BuildConfig, load_recipe

LEVELS = "levels: {sr: bicubic, mid: 'interpolate:sr:0.5', hr: hr}\n"
REQUIRED = ["hr=in", "output=out"]


def _load(tmp_path: Path, text: str, *overrides: str) -> BuildConfig:
    (tmp_path / "build.yaml").write_text(text)
    return load_config(BuildConfig, tmp_path / "build.yaml", [*REQUIRED, *overrides])


def test_defaults_are_the_papers(tmp_path: Path) -> None:
    config = _load(tmp_path, LEVELS)
    assert (config.crop, config.stride, config.scale) == (296, 200, 4)
    assert config.fractions == {"train": 0.9, "val": 0.1, "test": 0.0}
    assert list(config.levels) == ["sr", "mid", "hr"]
    assert round(PUBLISHED_MIN_SHARPNESS, 3) == 4.207


def test_yaml_written_is_yaml_read(tmp_path: Path) -> None:
    config = _load(tmp_path, LEVELS, "crop=96", "val=0.25")
    again = tmp_path / "again.yaml"
    again.write_text(dump_yaml(config))
    assert load_config(BuildConfig, again) == config


def test_unknown_key_is_named_with_what_is_close(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidConfig, match=r"build\.yaml: strid: unknown key; did you mean stride"
    ):
        _load(tmp_path, LEVELS + "strid: 3\n")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("levels.late=interpolate:later:0.5", "late=interpolate:later:0.5: 'later' is not a level"),
        ("levels.bad=blur:0", "WIDTH lies above 0"),
        ("levels.bad=noise:2:nowhere", "'nowhere' is not a level"),
        ("levels.bad=interpolate:sr", "write interpolate:NAME:LAMBDA"),
        ("levels.bad=interpolate:sr:1.5", "LAMBDA lies between 0"),
        ("levels.a/b=hr", "made of letters"),
        (
            "levels.hr=blur:2",
            r"the level hr is the original \(hr=hr\)",
        ),
        ("levels={only: hr}", "at least 2"),
        ("val=0.95", "at most 1"),
        ("crop=0", "crop"),
        ("stride=0", "stride"),
        ("crop=half", "crop"),
        ("min_sharpness=-1", "min_sharpness"),
        ("label=votes", "label"),
        ("sources=0", "sources"),
        ("max_crops=0", "max_crops"),
        ("sharpness_of=best", "sharpness_of: 'best' is neither hr nor one of sr, mid, hr"),
        ("min_gap=0.1", "min_gap and min_gap_levels: one goes with the other"),
        ("min_gap_levels=[sr, hr]", "min_gap and min_gap_levels: one goes with the other"),
    ],
)
def test_impossible_values(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        _load(tmp_path, LEVELS, "test=0.1", override)


def test_nothing_left_for_training_is_possible(tmp_path: Path) -> None:
    config = _load(tmp_path, LEVELS, "val=0.9", "test=0.1")
    assert config.fractions["train"] == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("min_gap_levels=[sr, sr]", "sr, sr are not two of sr, mid, hr"),
        ("min_gap_levels=[sr, best]", "sr, best are not two of sr, mid, hr"),
        ("label=order", "listed before"),
    ],
)
def test_impossible_gaps(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        _load(tmp_path, LEVELS, "min_gap_levels=[sr, hr]", "min_gap=0.1", override)


def test_gap_of_an_order(tmp_path: Path) -> None:
    levels = "levels: {hr: hr, blurred: 'blur:2'}\n"
    with pytest.raises(InvalidConfig, match="with label: order it is none"):
        _load(tmp_path, levels, "label=order", "min_gap=0.1", "min_gap_levels=[hr, blurred]")


def test_order_against_the_strengths_names_both_levels(tmp_path: Path) -> None:
    text = "levels: {hr: hr, strong: 'noise:30', weak: 'noise:1'}\n"
    assert _load(tmp_path, text).label == "metric"
    with pytest.raises(InvalidConfig, match=r"strong \(noise:30\) is listed before weak"):
        _load(tmp_path, text, "label=order")


def test_as_published() -> None:
    levels = {"esrgan": "a", "srgan": "b", "srresnet": "c"}
    required = {"hr": Path("in"), "output": Path("out"), "levels": levels}
    config = BuildConfig.as_published(most_perceptual="esrgan", second="srgan", **required)
    assert (config.crop, config.stride, config.last_offset) == (296, 148, False)
    assert (config.min_gap, config.min_gap_levels) == (0.1, ("srgan", "esrgan"))
    assert (config.max_crops, config.sharpness_of) == (200, "esrgan")
    # 40 over the sum of 4 x 4 means of 96 x 96 blocks of a 296 x 296 plane.
    assert config.min_sharpness == pytest.approx(4.207, abs=5e-4)
    assert config.metric == "niqe?border=4"
    changed = BuildConfig.as_published(
        most_perceptual="esrgan", second="srgan", max_crops=5, **required
    )
    assert changed.max_crops == 5


def test_recipes_are_named_when_there_is_none_of_that_name() -> None:
    with pytest.raises(UnknownName, match=r"ranks is neither a recipe \(.*noise.*\) nor a \.yaml"):
        load_recipe("ranks")
