from __future__ import annotations

from pathlib import Path

import pytest

from ranksrgan.contracts.config import dump_yaml, load_config
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.rankdata.config import PUBLISHED_MIN_SHARPNESS, BuildConfig

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
        ("levels.late=interpolate:later:0.5", "'later' is not an earlier level"),
        ("levels.bad=interpolate:sr", "write interpolate:NAME:LAMBDA"),
        ("levels.bad=interpolate:sr:1.5", "LAMBDA lies between 0"),
        ("levels.a/b=hr", "made of letters"),
        ("levels={only: hr}", "at least 2"),
        ("val=0.95", "at most 1"),
        ("crop=0", "crop"),
        ("stride=0", "stride"),
        ("min_sharpness=-1", "min_sharpness"),
    ],
)
def test_impossible_values(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        _load(tmp_path, LEVELS, "test=0.1", override)


def test_nothing_left_for_training_is_possible(tmp_path: Path) -> None:
    config = _load(tmp_path, LEVELS, "val=0.9", "test=0.1")
    assert config.fractions["train"] == 0
